#!/bin/sh
# Makes or updates the tables, and starts the engine. The database may be starting up, too.
set -eu
url=${DATABASE_URL:-postgresql+psycopg2://bgd@database/bgd}
until bgd migrate apply "$url"; do sleep 1; done
python - "$url" /etc/buildgrid/once.sql <<'PYTHON'
import sys
import sqlalchemy

with sqlalchemy.create_engine(sys.argv[1]).begin() as connection:
    connection.execute(sqlalchemy.text(open(sys.argv[2]).read()))
PYTHON
exec bgd server start /etc/buildgrid/buildgrid.yml
