# The Vault or OpenBao of docker compose. Its container has no network: the API is on a socket that certmgr alone
# shares. What listens on TCP is reached from inside of the container: docker compose exec legation-vault …
ui            = false
disable_mlock = true
api_addr      = "http://127.0.0.1:8200"
cluster_addr  = "http://127.0.0.1:8201"

storage "raft" {
  path                   = "/vault/data"
  node_id                = "compose"
  performance_multiplier = 1
}

listener "unix" {
  address      = "/vault/run/vault.sock"
  socket_mode  = "0600"
  socket_user  = "10001"
  socket_group = "10001"
}

listener "tcp" {
  address     = "127.0.0.1:8200"
  tls_disable = true
}
