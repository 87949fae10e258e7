#!/usr/bin/env bash
# Builds Jaeger 2 from its Go sources into ~/.cache/twofold/bin/jaeger.
#
# Jaeger's tags of version 2 cannot be had as a Go module, since its module path
# has no /v2. But the tag v1.76.0 is the same commit as v2.13.0, and its
# cmd/jaeger is the program of version 2. `go install` refuses the module for a
# `replace` in it, so its sources are fetched and built where they lie.
#
# This takes minutes, 250 MB of modules and 1.6 GB of build cache. The result
# lacks the web pages, which are built separately: it answers the query API. For
# the pages, put a released jaeger binary on the PATH, or use compose.yaml.
set -euo pipefail

VERSION=v1.76.0
GO=${GO:-go}
OUT=${TWOFOLD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/twofold}/bin

if [ -x "$OUT/jaeger" ]; then
    echo "$OUT/jaeger is here already; remove it to build it again"
    exit 0
fi
if ! command -v "$GO" >/dev/null; then
    echo "make jaeger needs Go 1.25 or newer, and '$GO' was not found" >&2
    exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"$GO" mod init twofold.local/jaeger >/dev/null 2>&1

echo "fetching Jaeger's sources"
sources=$("$GO" mod download -json "github.com/jaegertracing/jaeger@$VERSION" |
    sed -n 's/^[[:space:]]*"Dir": "\(.*\)",*$/\1/p')
echo "building Jaeger (some minutes)"
mkdir -p "$OUT"
"$GO" build -C "$sources" -trimpath -ldflags '-s -w' -o "$work/jaeger" ./cmd/jaeger
mv "$work/jaeger" "$OUT/jaeger"
echo "built $OUT/jaeger; twofold finds it there"
