#!/bin/sh
# Starts the part this image is of: `start.sh serve`, `start.sh migrate`, …
set -eu
if [ -r /run/kehu/env ]; then  # mounted by compose; on Kubernetes the pod's environment has all of it
    set -a
    . /run/kehu/env
    set +a
fi
owner="/run/owners/kehu-$KEHU_SERVICE"
if [ -r "$owner" ]; then  # mounted for migrations only
    KEHU_OWNER_DATABASE_URL=$(cat "$owner")
    export KEHU_OWNER_DATABASE_URL
fi
case $KEHU_SERVICE in
    local) module=kehu_local ;;
    *) module=$(echo "$KEHU_SERVICE" | tr - _) ;;
esac
exec python -m "$module" "$@"
