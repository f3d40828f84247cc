# shellcheck shell=bash
# Who is who: a certificate authority, a certificate for each part, and a kubeconfig for each client.

make_certificates() { # make_certificates NODES
  local i directory=$STATE/pki
  mkdir -p "$directory" "$STATE/kubeconfig"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=kubelab \
    -keyout "$directory/ca.key" -out "$directory/ca.crt" 2>/dev/null
  openssl genrsa -out "$directory/sa.key" 2048 2>/dev/null
  openssl rsa -in "$directory/sa.key" -pubout -out "$directory/sa.pub" 2>/dev/null

  local service=DNS:kubernetes
  certify apiserver /CN=kube-apiserver \
    "$service,$service.default,$service.default.svc,$service.default.svc.cluster.local,IP:$API,IP:198.19.0.1"
  certify kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client DNS:kubelet-client
  client admin /O=system:masters/CN=admin
  client controller-manager /CN=system:kube-controller-manager
  client scheduler /CN=system:kube-scheduler
  client proxy /CN=system:kube-proxy
  for i in $(seq "$1"); do
    client "node-$i" "/O=system:nodes/CN=system:node:lab-$i" "DNS:lab-$i,IP:$(address_of "$i")"
  done
}

client() { # client NAME SUBJECT [ALTERNATIVE NAMES]: a certificate and the kubeconfig that uses it
  local base=$STATE/pki/$1
  certify "$1" "$2" "${3:-DNS:$1}"
  cat >"$(kubeconfig "$1")" <<YAML
apiVersion: v1
kind: Config
current-context: lab
clusters: [{name: lab, cluster: {server: "https://$API:6443", certificate-authority: $STATE/pki/ca.crt}}]
users: [{name: $1, user: {client-certificate: $base.crt, client-key: $base.key}}]
contexts: [{name: lab, context: {cluster: lab, user: $1}}]
YAML
}

certify() { # certify NAME SUBJECT ALTERNATIVE-NAMES
  local base=$STATE/pki/$1
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "$2" \
    -keyout "$base.key" -out "$base.csr" 2>/dev/null
  openssl x509 -req -in "$base.csr" -CA "$STATE/pki/ca.crt" -CAkey "$STATE/pki/ca.key" -CAcreateserial -days 30 \
    -out "$base.crt" -extfile <(printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\n' "$3") 2>/dev/null
}
