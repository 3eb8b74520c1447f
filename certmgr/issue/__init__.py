"""The way to Vault or OpenBao: set-up, login, CSRs and signing, through hvac."""
