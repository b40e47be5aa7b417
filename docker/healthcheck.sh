#!/bin/sh
# Status 0: the container does what it was started for. What that is, is read from the command of process 1:
# - ray start ...: this node's raylet runs, and the head's GCS answers (ray health-check), for heads and workers alike;
# - rllib-reborn train|tune ...: a row was written below HEALTH_RUNS in the last HEALTH_MAX_ROW_AGE_S seconds, or the container
#   is younger than that. 0 switches this off;
# - anything else: healthy while it runs.
set -eu
: "${HEALTH_RUNS:=/runs}" "${HEALTH_MAX_ROW_AGE_S:=3600}"

unhealthy() {
    echo "unhealthy: $1"
    exit 1
}

command=$(ps -ww -o args= -p 1)
case $command in
*"ray start "*)
    # Its process stays, as a zombie, after it has ended: ray start does not wait for it.
    pgrep -x -r D,R,S raylet >/dev/null || unhealthy "no raylet runs in this container"
    ray health-check || unhealthy "the GCS of the cluster that this node has joined does not answer"
    ;;
*"rllib-reborn train "* | *"rllib-reborn tune "*)
    if [ "$HEALTH_MAX_ROW_AGE_S" -gt 0 ] && [ "$(ps -o etimes= -p 1)" -gt "$HEALTH_MAX_ROW_AGE_S" ]; then
        oldest=$(($(date +%s) - HEALTH_MAX_ROW_AGE_S))
        written=$(find "$HEALTH_RUNS" -name metrics.jsonl -newermt "@$oldest" -print -quit)
        [ -n "$written" ] || unhealthy "no metrics.jsonl below $HEALTH_RUNS has changed for $HEALTH_MAX_ROW_AGE_S s"
    fi
    ;;
esac
