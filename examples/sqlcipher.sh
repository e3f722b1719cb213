#!/usr/bin/env bash
# An SQLCipher database that only this program on this machine opens: create, reopen, change its key.
# Needs bulla (or BULLA=path) and the Debian package sqlcipher.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# Runs SQL with a generation of the ring. SQLCipher reads the key from a file in memory, as its first statement.
sql() { "$BULLA" exec --key "ledger.ring:$1=sqlcipher" -- sqlcipher -bail -init '{key}' ledger.db "$2" </dev/null; }

say 'A ring with one key, and a database under it'
"$BULLA" key new ledger.ring
sql 1 "CREATE TABLE ledger (line TEXT); INSERT INTO ledger VALUES ('attack at dawn');"
is 'attack at dawn' sql 1 'SELECT line FROM ledger'
nowhere 'attack at dawn' ledger.db

say 'Another ring does not open it, nor does this one under its name'
"$BULLA" key new other.ring
refused "$BULLA" exec --key other.ring=sqlcipher -- sqlcipher -bail -init '{key}' ledger.db 'SELECT line FROM ledger'
cp other.ring stolen && cp ledger.ring kept && mv stolen ledger.ring
refused sql 1 'SELECT line FROM ledger'
mv kept ledger.ring

say 'A new key: the ring holds both until the database has changed, whatever happens in between'
"$BULLA" key rotate ledger.ring
"$BULLA" exec --key ledger.ring:1=sqlcipher --key ledger.ring:2=sqlcipher-rekey -- \
    sqlcipher -bail -init '{key:1}' ledger.db '.read {key:2}' </dev/null
is 'attack at dawn' sql 2 'SELECT line FROM ledger'
refused sql 1 'SELECT line FROM ledger'

say 'The old key is of no more use, neither in the ring nor in the copy that was kept beside it'
"$BULLA" key retire --prune ledger.ring 1
[ ! -e .ledger.ring.bulla-1 ] || surprise 'there is a copy with the old key'
refused sql 1 'SELECT line FROM ledger'
is 'attack at dawn' sql 2 'SELECT line FROM ledger'

say 'The data is there and the ring is gone: nothing makes a new key in its place'
mv ledger.ring away
refused "$BULLA" key ensure ledger.ring --data ledger.db
[ ! -e ledger.ring ] || surprise 'there is a new ring'
