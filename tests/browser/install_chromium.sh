#!/bin/sh
# Installs Chromium where it is missing and can be installed; says why where it cannot.
for name in chromium chromium-browser google-chrome; do
    command -v "$name" >/dev/null && exit 0
done
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "Chromium is not here and cannot be installed (not root, or no apt-get)"
    exit 1
fi
log=$(mktemp)
if ! { apt-get update -q && DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -q --no-install-recommends chromium; } >"$log" 2>&1; then
    echo "apt-get could not install chromium:"
    tail -n 3 "$log"
    exit 1
fi
