"""certmgr: gives every Envoy a short-lived identity out of Vault or OpenBao, and rotates it."""
