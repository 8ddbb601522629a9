"""OpenID Connect: who a token's issuer says that somebody is."""
