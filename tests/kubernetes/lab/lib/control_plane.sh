# shellcheck shell=bash
# etcd, API server, controller manager, scheduler, DNS.

start_control_plane() {
  make_part etcd kl-cp etcd --data-dir "$STATE/etcd" --unsafe-no-fsync \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380

  # No kube-proxy runs beside the API server: it goes to the endpoints of APIServices by itself.
  make_part apiserver kl-cp "$BIN/kube-apiserver" --etcd-servers=http://127.0.0.1:2379 \
    --bind-address="$API" --advertise-address="$API" --service-cluster-ip-range="$SERVICES" \
    --client-ca-file="$STATE/pki/ca.crt" \
    --tls-cert-file="$STATE/pki/apiserver.crt" --tls-private-key-file="$STATE/pki/apiserver.key" \
    --service-account-key-file="$STATE/pki/sa.pub" --service-account-signing-key-file="$STATE/pki/sa.key" \
    --service-account-issuer=https://kubernetes.default.svc.cluster.local \
    --kubelet-client-certificate="$STATE/pki/kubelet-client.crt" \
    --kubelet-client-key="$STATE/pki/kubelet-client.key" \
    --kubelet-certificate-authority="$STATE/pki/ca.crt" --kubelet-preferred-address-types=InternalIP \
    --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged=true \
    --enable-aggregator-routing=true
  wait_for 60 kubectl_admin get --raw /readyz

  local config
  config=$(kubeconfig controller-manager)
  # HorizontalPodAutoscalers look as often as the tests' RealtimeClusters do, or a test waits for them.
  make_part controller-manager kl-cp "$BIN/kube-controller-manager" --leader-elect=false \
    --kubeconfig="$config" --authentication-kubeconfig="$config" --authorization-kubeconfig="$config" \
    --use-service-account-credentials=true --service-account-private-key-file="$STATE/pki/sa.key" \
    --root-ca-file="$STATE/pki/ca.crt" --cluster-signing-cert-file="$STATE/pki/ca.crt" \
    --cluster-signing-key-file="$STATE/pki/ca.key" --horizontal-pod-autoscaler-sync-period=2s

  config=$(kubeconfig scheduler)
  make_part scheduler kl-cp "$BIN/kube-scheduler" --leader-elect=false \
    --kubeconfig="$config" --authentication-kubeconfig="$config" --authorization-kubeconfig="$config"

  start_dns
}

start_dns() {
  cat >"$STATE/Corefile" <<CONFIG
.:53 {
  bind $API
  errors
  kubernetes cluster.local {
    kubeconfig $(kubeconfig admin)
    pods insecure
  }
  cache 5
}
CONFIG
  make_part coredns kl-cp "$BIN/coredns" -conf "$STATE/Corefile"
  # kube-proxy refuses service addresses that no Service owns, so DNS has to be one.
  kubectl_admin apply --filename - >/dev/null <<YAML
apiVersion: v1
kind: Service
metadata: {name: kube-dns, namespace: kube-system}
spec:
  clusterIP: $DNS
  ports: [{name: dns, port: 53, protocol: UDP}, {name: dns-tcp, port: 53, protocol: TCP}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: kube-dns, namespace: kube-system, labels: {kubernetes.io/service-name: kube-dns}}
addressType: IPv4
ports: [{name: dns, port: 53, protocol: UDP}, {name: dns-tcp, port: 53, protocol: TCP}]
endpoints: [{addresses: [$API], conditions: {ready: true}}]
YAML
}
