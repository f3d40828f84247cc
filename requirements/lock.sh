#!/usr/bin/env bash
# Locks every dependency with its hashes; run it by `make requirements`, or `make locked` to check.
#
#   requirements/lock.sh DIRECTORY [OPTION…]   options go to `uv pip compile`, e.g. --upgrade
#
# A pin found in DIRECTORY stays while it fits. dev.txt is resolved first, from everything; what the
# images install, and what builds them, starts from its pins, so that all agree. No address of an index is written:
# each machine's own settings say where packages come from.
set -euo pipefail

into=$1
shift
compile=("${UV:-uv}" pip compile --quiet --universal --python-version 3.11 --generate-hashes
  --no-header --no-emit-index-url --no-emit-find-links)

"${compile[@]}" "$@" requirements/uv.in -o "$into/uv.txt"
"${compile[@]}" "$@" node/pyproject.toml --extra dev operator/pyproject.toml requirements/dev.in \
  -o "$into/dev.txt"
for package in node operator; do
  cp "$into/dev.txt" "$into/$package.txt"
  "${compile[@]}" "$package/pyproject.toml" -o "$into/$package.txt"
done
cp "$into/dev.txt" "$into/build.txt"
"${compile[@]}" requirements/build.in -o "$into/build.txt"
