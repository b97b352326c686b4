#!/bin/sh
# certbot runs it after each renewal (--deploy-hook): the gateway may not read certbot's own files. It notices the new ones.
set -eu

target=/etc/authgate/tls
umask 077
for pair in fullchain.pem:cert.pem privkey.pem:key.pem; do
    new=$target/.${pair#*:}
    cat "$RENEWED_LINEAGE/${pair%:*}" >"$new"
    chown root:authgate "$new"
    chmod 0640 "$new"
done
# Both at once, as nearly as can be: the gateway keeps what it has while the two do not fit.
mv "$target/.cert.pem" "$target/cert.pem"
mv "$target/.key.pem" "$target/key.pem"
