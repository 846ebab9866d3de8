#!/bin/sh
# Builds in CI what a commit changed, and leaves behind what people look at: build/report.html and annotations.
#   ci/build.sh [QUERY]     everything, or what a query of `doit query` means, as: ci/build.sh 'attr(arch, sm_80, ...)'
# Environment: CI_ANNOTATIONS, github or gitlab, chooses the annotations; ENGINEWRIGHT_STORE is where results are kept between runs, and
# STORE_SIZE how large that may become (10GB); with BUILD_OPTIONS=--locked nothing but what build.lock has is built from.
set -u
doit=${DOIT:-.venv/bin/doit}

code=0
targets=
if [ $# -gt 0 ]; then
    targets=$($doit query "$1") || code=$?
    if [ "$code" -eq 0 ] && [ -z "$targets" ]; then
        echo "nothing is meant by $1"
        exit 0
    fi
fi
# A mistake in a BUILD.py, by which not even the query is answered, is annotated too.
if [ "$code" -eq 0 ]; then
    # shellcheck disable=SC2086  # a label holds no blanks
    $doit build --continue ${BUILD_OPTIONS:-} $targets || code=$?
fi

case ${CI_ANNOTATIONS:-} in
    github) $doit report --annotations=github ;;
    gitlab) $doit report --annotations=gitlab --output=build/code-quality.json ;;
esac
# There is no report where a mistake in a BUILD.py kept everything from running, and never was.
$doit report || true
if [ -n "${ENGINEWRIGHT_STORE:-}" ]; then
    $doit cache gc --max-size "${STORE_SIZE:-10GB}"
fi
exit $code
