# docker build -f deploy/engine.Dockerfile -t engine .
FROM python:3.11-slim
COPY tests/reapi/constraints.txt /tmp/constraints.txt
RUN pip install --no-cache-dir --constraint /tmp/constraints.txt 'buildgrid[database]==0.4.4'
COPY deploy/buildgrid.yml deploy/once.sql /etc/buildgrid/
COPY deploy/start-engine.sh /usr/local/bin/start-engine
RUN mkdir -p /var/lib/buildgrid/cas && chown -R 1000:1000 /var/lib/buildgrid
USER 1000:1000
CMD ["start-engine"]
