# shellcheck shell=bash
# Images: two made of nothing but this machine's packages, and those that Dockerfiles make of them.

readonly PYTHON_BASE=localhost/python-base:lab PAUSE=localhost/pause:lab

builder() {
  buildah --storage-driver overlay --root "$HOME_DIRECTORY/buildah" --runroot "$HOME_DIRECTORY/buildah-run" "$@"
}

archive_of() { echo "$IMAGES/$(tr '/:' '__' <<<"$1").tar"; }

has_image() { [ -n "$(builder images --quiet "$1" 2>/dev/null)" ]; }

build_base_images() {
  mkdir -p "$IMAGES"
  [ -e "$(archive_of "$PAUSE")" ] || build_pause
  has_image "$PYTHON_BASE" || build_python_base
}

# The program that holds a Pod's namespaces.
build_pause() {
  local directory container
  say "building $PAUSE"
  directory=$(mktemp -d)
  gcc -O2 -static -o "$directory/pause" "$here/pause.c"
  container=$(builder from scratch)
  builder copy --quiet "$container" "$directory/pause" /pause >/dev/null
  builder config --entrypoint '["/pause"]' "$container"
  builder commit --quiet --rm "$container" "$PAUSE" >/dev/null
  rm -rf "$directory"
  save_image "$PAUSE"
}

# What python:3.13-slim is elsewhere: Debian and its Python.
build_python_base() {
  local directory container mounted
  say "building $PYTHON_BASE"
  directory=$(mktemp -d)
  debootstrap --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates bookworm "$directory" \
    >"$HOME_DIRECTORY/debootstrap.log" || fail "debootstrap failed; $HOME_DIRECTORY/debootstrap.log tells why"
  rm -rf "$directory"/var/cache/apt/archives/*.deb "$directory"/var/lib/apt/lists/*
  container=$(builder from scratch)
  mounted=$(builder mount "$container")
  cp -a "$directory/." "$mounted/"
  builder umount "$container" >/dev/null
  builder config --cmd '["python3"]' "$container"
  builder commit --quiet --rm "$container" "$PYTHON_BASE" >/dev/null
  rm -rf "$directory"
}

# Builds see this machine's certificates and its settings of pip, which tell where packages come from;
# the image keeps neither.
build_image() { # build_image TAG DIRECTORY OPTION…
  [ $# -ge 2 ] || fail "image takes a tag and a directory"
  local tag=$1 directory=$2 volumes=() file
  shift 2
  for file in /etc/ssl/certs/ca-certificates.crt /etc/pip.conf; do
    [ ! -e "$file" ] || volumes+=(--volume "$file:$file:ro")
  done
  build_base_images
  # chroot: a container inside a container may not make namespaces of its own
  builder bud --isolation chroot --network host "${volumes[@]}" --layers --quiet \
    --build-arg "BASE_IMAGE=$PYTHON_BASE" --tag "$tag" "$@" "$directory" >/dev/null
  distribute "$tag"
  prune_layers
}

# What was not changed by a build is in the archive, and on every node since it started.
distribute() {
  local known i id
  known=$(archive_of "$1").id
  id=$(builder images --quiet --no-trunc "$1")
  if [ -e "$(archive_of "$1")" ] && [ "$(cat "$known" 2>/dev/null)" = "$id" ]; then return; fi
  rm -f "$known"
  save_image "$1"
  for i in $(nodes); do load_image "$i" "$(archive_of "$1")"; done
  echo "$id" >"$known"
}

# Layers are kept, so that a build of changed code takes seconds; beyond a number all are made anew.
prune_layers() {
  local -r most=60
  [ "$(builder images --quiet --filter dangling=true | wc -l)" -le $most ] || builder rmi --prune >/dev/null
}

save_image() {
  local archive
  archive=$(archive_of "$1")
  rm -f "$archive"
  builder push --quiet --disable-compression "$1" "oci-archive:$archive:$1"
}

load_image() { ctr_on "$1" images import "$2" >/dev/null; } # load_image NODE ARCHIVE
