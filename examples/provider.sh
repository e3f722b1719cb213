#!/usr/bin/env bash
# The life of a key provider and of a guest's disk: started, rotated, updated, rebuilt, lost and recovered elsewhere, without losing
# what is on the disk. On simulated machines. Needs bulla (or BULLA=path) and the Debian package cryptsetup-bin; the volume is opened with
# --test-passphrase, so neither root nor a device mapper is needed. docs/provider.md says what each step is for.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
unset BULLA_MACHINE
PATH=$PATH:/usr/sbin

# Two builds of the provider, by their measurements. On a real machine the build prints them.
present=$(printf '11%.0s' {1..32}) next=$(printf '22%.0s' {1..32})
build() { sed -i '/^measurement/d' "$1/enclave.toml"; echo "measurement = \"$2\"" >>"$1/enclave.toml"; }    # what runs on machine $1

server=
# Starts the provider of $1.toml, and waits until it is ready.
serve() {
    "$BULLA" provider serve --config "$1.toml" 2>>log &
    server=$!
    until "$BULLA" provider status --config "$1.toml" >status 2>/dev/null; do
        kill -0 $server || { cat log >&2; surprise 'the provider does not start'; }
        sleep 0.1
    done
}
end() { [ -z "$server" ] || { kill "$server"; wait "$server" || true; server=; }; }
at_exit+=(end)

say 'The provider authority: two of its three keys sign policies'
for name in ada bo cy; do "$BULLA" authority key -o $name.key >$name.pub; done
authority=$("$BULLA" authority new --name acme --threshold 2 --key ada.pub --key bo.pub --key cy.pub -o acme.authority)
echo "   authority $authority"
sign() {                                                                              # $1 by two of three, as $2, into $1.signed
    "$BULLA" authority sign --as "$2" --descriptor acme.authority --key ada.key "$1" -o "$1.signed"
    "$BULLA" authority sign --as "$2" --key cy.key "$1.signed" -o "$1.signed"
}

say 'The policy: roots in a ring, two builds and a spare machine that may have them, three people who recover them'
"$BULLA" sim new spare
for name in uma vic wim; do "$BULLA" recipient new -o $name.key >$name.pub; done
cat >policy <<POLICY
version = 1
name = "acme"
simulated = true                      # real providers refuse this line, simulated ones need it
custody = "keyring"
[recovery]
threshold = 2
recipients = ["$(cat uma.pub)", "$(cat vic.pub)", "$(cat wim.pub)"]
[[upgrade]]
mrenclave = "$present"
[[upgrade]]
mrenclave = "$next"
[[usage]]
path = "app/**"
purposes = ["disk"]
[[usage]]
path = "bulla/envelope"               # what guests seal with
[[migration]]
ppid = "$(sed -n "s/^ppid = ['\"]\(.*\)['\"]/\1/p" spare/machine.toml)"
POLICY
"$BULLA" authority policy check policy
sign policy policy

say 'The provider: roots are made once, by name'
settings() { printf 'machine = "sim:%s"\npolicy = "policy.signed"\nstate_dir = "%s"\n[listen]\nunix = "%s.sock"\n' "$2" "$1" "$1" >"$1.toml"; }
settings first machine
build machine $present
refused "$BULLA" provider serve --config first.toml
"$BULLA" provider config check first.toml
"$BULLA" provider init --config first.toml
serve first

# Whom the guest asks from now on, on machine $1: the provider of $2.toml, build $3, under our authority.
asks() {
    guest=sim-td:$1,image.toml
    at=(--provider "unix:$2.sock" --provider-id "$3" --authority "$authority")
}
asks machine first $present

say 'The owner of the image signs which images have its keys: MRSIGNER for a guest'
image() { printf 'rtmr2 = "%s"\n' "$(printf "$1%.0s" {1..48})" >image.toml; }         # a guest whose kernel is $1
manifest() {                                                                          # for the image, with SVN $1
    "$BULLA" sim quote machine --td image.toml -o quote
    "$BULLA" manifest new --owner acme.authority --product wallet --svn "$1" --evidence quote -o "manifest$1"
    "$BULLA" manifest sign --descriptor acme.authority --key bo.key "manifest$1" -o "manifest$1.signed"
    "$BULLA" manifest sign --key cy.key "manifest$1.signed" -o "manifest$1.signed"
}
image a1
manifest 1
entitled() { printf '%s\n' --owner "$authority" --manifest "$work/manifest$1.signed"; }

say 'The guest gets its key, and seals the key of a disk for every image that its owner entitles'
"$BULLA" --machine "$guest" request "${at[@]}" --path app/db --purpose disk | sha256sum
entitled=(--owner "$authority" --manifest manifest1.signed)
"$BULLA" --machine "$guest" key new disk.ring "${at[@]}" "${entitled[@]}" --binding "owner:$authority,product=wallet,svn=1"
truncate --size 20M disk
disk() {                                                                              # cryptsetup on the disk, in the guest
    "$BULLA" --machine "$guest" exec --key disk.ring "${at[@]}" "${entitled[@]}" -- \
        cryptsetup "$@" --batch-mode --key-file '{key}' disk
}
disk luksFormat --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000
opens() { disk open --test-passphrase && echo '   the disk opens'; }
opens

say 'Rotation: new keys come from a new root, older ones stay. The authority signs the command'
"$BULLA" provider rotate --to 2 --config first.toml --prepare rotate
sign rotate command
"$BULLA" provider submit rotate.signed --config first.toml
refused "$BULLA" provider submit rotate.signed --config first.toml
opens
cp first/roots.ring backup                                                            # after every rotation, anywhere

say 'A microcode update'
"$BULLA" sim microcode machine up
opens

say 'A new image of the guest: another kernel, the same owner'
image b2
refused disk open --test-passphrase
"$BULLA" sim quote machine --td image.toml -o after
"$BULLA" manifest compare quote after
manifest 2
entitled=(--owner "$authority" --manifest manifest2.signed)
opens

say 'A new build of the provider proves itself, and gets the roots'
settings second machine
build machine $next
"$BULLA" provider handover request --config second.toml -o request --secret secret
build machine $present
end
"$BULLA" provider handover grant --config first.toml --request request -o grant
build machine $next
"$BULLA" provider handover adopt --config second.toml --request request --secret secret --grant grant
serve second
asks machine second $next
opens

say 'A guest is refused, and the audit log says why'
refused "$BULLA" --machine "$guest" request "${at[@]}" --path admin/db --purpose disk
end
"$BULLA" audit verify second
"$BULLA" audit show --refused second

say 'The host burns down. Two of three people recover the roots on the spare machine'
rm -rf machine first second
settings third spare
build spare $next
for what in drill recover; do
    rm -f secret
    "$BULLA" provider $what request --config third.toml --backup backup -o request --secret secret
    for name in uma wim; do
        "$BULLA" provider $what share --config third.toml --authority "$authority" --request request --backup backup \
            --key $name.key -o $name.share
    done
    case $what in drill) last=run ;; recover) last=adopt ;; esac
    "$BULLA" provider $what $last --config third.toml --request request --secret secret --backup backup \
        --share uma.share --share wim.share
done
serve third
asks spare third $next
opens
