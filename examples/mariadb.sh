#!/usr/bin/env bash
# Encrypted tables of MariaDB, under keys that only this program on this machine opens; and a second key for them.
# Needs bulla (or BULLA=path) and the Debian package mariadb-server. The server is this script's own: it listens on a socket in
# an empty folder, on no port, and ends with the script.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

server=
stop() {
    [ -n "$server" ] || return 0
    kill "$server"
    wait "$server" || true
    server=
}
at_exit+=(stop)

sql() { mariadb --no-defaults --user=root --socket="$work/socket" --skip-column-names --batch --execute="$1"; }

# Starts the server with the keys of a ring. It reads them once, from a file in memory.
start() {
    local ring=$1
    shift
    "$BULLA" exec --key "$ring=mariadb" -- /usr/sbin/mariadbd --no-defaults --user="$(id -un)" --datadir="$work/data" \
        --socket="$work/socket" --pid-file="$work/pid" --skip-networking --plugin-load-add=file_key_management \
        --file-key-management-filename='{key}' --innodb-encrypt-tables=FORCE --innodb-encrypt-log=ON \
        --innodb-encrypt-temporary-tables=ON --encrypt-tmp-files=ON --innodb-encryption-threads=1 "$@" >>log 2>&1 &
    server=$!
    for _ in {1..600}; do
        if sql 'SELECT 1' >/dev/null 2>&1; then return 0; fi
        if ! kill -0 "$server" 2>/dev/null; then
            wait "$server" || true
            server=
            return 1
        fi
        sleep 0.1
    done
    surprise 'the server does not answer'
}

# Which key the table is under, by its number.
key_of_table() {
    sql "SELECT current_key_id FROM information_schema.innodb_tablespaces_encryption WHERE name = 'shop/orders'"
}

say 'A server with the keys of a ring'
"$BULLA" key new shop.ring
mariadb-install-db --no-defaults --user="$(id -un)" --datadir="$work/data" --auth-root-authentication-method=normal \
    --skip-test-db >log 2>&1 || surprise "$(cat log)"
start shop.ring || surprise "$(cat log)"

say 'An encrypted table'
sql 'CREATE DATABASE shop; CREATE TABLE shop.orders (line TEXT) ENGINE=InnoDB'
sql "INSERT INTO shop.orders VALUES ('attack at dawn')"
is 'attack at dawn' sql 'SELECT line FROM shop.orders'
is 1 key_of_table

say 'Neither arguments nor environment nor log of the server have the key'
for form in hex base64; do
    code=0
    "$BULLA" exec --key shop.ring=$form -- \
        grep --text --fixed-strings --file '{key}' "/proc/$server/cmdline" "/proc/$server/environ" log || code=$?
    [ "$code" -eq 1 ] || surprise 'there it is, or it was not looked for'
done
tr '\0' '\n' <"/proc/$server/cmdline" | grep file-key-management-filename
stop
nowhere 'attack at dawn' data

say 'After a restart'
start shop.ring || surprise "$(cat log)"
is 'attack at dawn' sql 'SELECT line FROM shop.orders'

say 'A second key: the server is given both, and the table goes from the first to the second'
stop
"$BULLA" key rotate shop.ring
start shop.ring --innodb-default-encryption-key-id=2 || surprise "$(cat log)"
sql 'ALTER TABLE shop.orders ENCRYPTED=YES ENCRYPTION_KEY_ID=2'
is 2 key_of_table
is 'attack at dawn' sql 'SELECT line FROM shop.orders'
# The first stays in the ring: MariaDB writes its logs under key 1 always.
stop
nowhere 'attack at dawn' data

say 'With the keys of another ring the table stays shut'
cp -r data data.kept
"$BULLA" key new other.ring
"$BULLA" key rotate other.ring
if start other.ring; then
    refused sql 'SELECT line FROM shop.orders'
    stop
else
    echo '   refused: the server does not start'
fi
rm -r data && mv data.kept data
start shop.ring || surprise "$(cat log)"
is 'attack at dawn' sql 'SELECT line FROM shop.orders'
