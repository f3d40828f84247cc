# shellcheck shell=bash
# The programs, from source: Go modules are at hand where downloads of programs are not.

readonly KUBERNETES=1.34.3 COREDNS=1.15.0 HELM=4.3.1
readonly KUBERNETES_PROGRAMS=(kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet)

KUBECTL=$(command -v kubectl || echo "$BIN/kubectl")
readonly KUBECTL

programs_to_build() { # of Kubernetes
  local program
  for program in "${KUBERNETES_PROGRAMS[@]}"; do
    is_version "$program" "$KUBERNETES" --version || echo "$program"
  done
  [ -x "$KUBECTL" ] || echo kubectl
}

has_coredns() { is_version coredns "$COREDNS" -version; }
has_helm() { is_version helm "$HELM" version --short; }

are_programs_built() { [ -z "$(programs_to_build)" ] && has_coredns && has_helm; }

build_programs() {
  local missing
  mapfile -t missing < <(programs_to_build)
  export CGO_ENABLED=0 GOFLAGS=-mod=mod
  mkdir -p "$BIN"
  [ ${#missing[@]} -eq 0 ] || build_kubernetes "${missing[@]}"
  has_coredns || install_go "github.com/coredns/coredns@v$COREDNS"
  has_helm || install_go "helm.sh/helm/v4/cmd/helm@v$HELM"
}

is_version() { # is_version PROGRAM VERSION OPTION…: the program is there and is of that version
  [ -x "$BIN/$1" ] && [[ $("$BIN/$1" "${@:3}" 2>/dev/null) == *"$2"* ]]
}

install_go() {
  say "building $1"
  (cd / && GOBIN=$BIN go install -trimpath -ldflags "-s -w -X helm.sh/helm/v4/internal/version.version=v$HELM" "$1")
}

build_kubernetes() {
  local source=$HOME_DIRECTORY/src version=k8s.io/component-base/version program
  mkdir -p "$source"
  (
    cd "$source" || exit
    write_module
    for program in "$@"; do
      say "building $program $KUBERNETES"
      go build -trimpath -o "$BIN/$program" -ldflags "-s -w -X $version.gitVersion=v$KUBERNETES
        -X $version.gitMajor=1 -X $version.gitMinor=$(minor) -X $version.gitTreeState=clean" \
        "k8s.io/kubernetes/cmd/$program"
    done
  )
}

minor() {
  local rest=${KUBERNETES#*.}
  echo "${rest%%.*}"
}

# k8s.io/kubernetes asks for its own parts at v0.0.0, which exist only in its repository; published
# they are v0.MINOR.PATCH, and a replacement says so for each.
write_module() {
  local downloaded program
  printf 'module kubelab\n' >go.mod
  downloaded=$(go mod download -json "k8s.io/kubernetes@v$KUBERNETES" | sed -n 's/.*"GoMod": "\(.*\)".*/\1/p')
  {
    printf 'module kubelab\n\ngo 1.24.0\n\ngodebug default=go1.24\n\n'
    printf 'require k8s.io/kubernetes v%s\n\nreplace (\n' "$KUBERNETES"
    grep -oP 'k8s.io/[a-z-]+(?= v0.0.0$)' "$downloaded" | sort -u | sed "s/.*/\t& => & v0.${KUBERNETES#1.}/"
    printf ')\n'
  } >go.mod
  {
    printf '//go:build tools\n\npackage kubelab\n\nimport (\n'
    for program in "${KUBERNETES_PROGRAMS[@]}" kubectl; do printf '\t_ "k8s.io/kubernetes/cmd/%s"\n' "$program"; done
    printf ')\n'
  } >tools.go
  go mod tidy
}
