#!/bin/sh
# Installs, upgrades and uninstalls authgate on one machine: docs/deployment.md. POSIX sh; changes nothing twice.
set -eu
# The gateway's user reads what root installs; what is secret has modes of its own.
umask 022

PREFIX=/opt/authgate
RELEASES=$PREFIX/releases
CURRENT=$PREFIX/current
CONFIG=/etc/authgate
DATA=/var/lib/authgate
UNITS=/etc/systemd/system
COMMAND=/usr/local/bin/authgate
ACCOUNT=authgate
SOCKETS='authgate.socket authgate-redirect.socket'
CONTENTS='authgate gateway_site proxy docs deploy manage.py pyproject.toml requirements.txt
    requirements-otlp.txt README.md CHANGELOG.md SECURITY.md LICENSE'

action=install
public_url='' cert='' key='' python='' wheels='' proxied=''
dry_run='' open_firewall='' start=yes purge='' yes='' confirmed='' changed=''

usage() {
    cat <<'EOF'
Usage: install.sh [install|uninstall] [OPTION]…

Run as root from an unpacked release or a checkout of authgate, on Debian 12 or 13, Ubuntu 24.04, or a system of the
RHEL 9 family. Run again from a newer release, it upgrades: the new release is installed beside the old one, and if
the service does not get ready with it, the old one is started again.

install
  --public-url URL      what people type, as in https://gateway.example.com; needed the first time
  --tls-cert FILE       certificate chain, PEM; copied to /etc/authgate/tls
  --tls-key FILE        its private key, PEM, unencrypted
  --behind-proxy        plain http on 127.0.0.1:8000, for a proxy on this machine that has the certificate
  --python FILE         Python 3.11, 3.12 or 3.13; default: the system's, installed if it is missing
  --wheels DIR          take Python packages from this directory, and none from the network
  --firewall            open the ports in ufw or firewalld; default: print the commands
  --no-start            install everything, and start nothing

uninstall               leaves /etc/authgate and /var/lib/authgate
  --purge               deletes them too, with all keys and accounts; asks first
  --yes                 does not ask

  --dry-run             print what would be done
  --help
EOF
}

say() { printf '==> %s\n' "$*"; }
note() { printf '    %s\n' "$*"; }
warn() { printf 'install.sh: %s\n' "$*" >&2; }
die() {
    warn "$*"
    exit 1
}

# Everything that changes the machine goes through this, or asks for $dry_run itself.
run() {
    if [ -n "$dry_run" ]; then
        note "would run: $*"
    else
        "$@"
    fi
}

# What it prints is shown only if it fails.
quietly() {
    if [ -n "$dry_run" ]; then
        run "$@"
        return
    fi
    log=$(mktemp)
    status=0
    "$@" >"$log" 2>&1 || status=$?
    [ $status -eq 0 ] || cat "$log" >&2
    rm -f "$log"
    return $status
}

parse() {
    while [ $# -gt 0 ]; do
        case $1 in
        install | uninstall) action=$1 ;;
        --public-url | --tls-cert | --tls-key | --python | --wheels)
            [ $# -ge 2 ] || die "$1 needs a value"
            case $1 in
            --public-url) public_url=${2%/} ;;
            --tls-cert) cert=$2 ;;
            --tls-key) key=$2 ;;
            --python) python=$2 ;;
            --wheels) wheels=$2 ;;
            esac
            shift
            ;;
        --behind-proxy) proxied=yes ;;
        --firewall) open_firewall=yes ;;
        --no-start) start='' ;;
        --purge) purge=yes ;;
        --yes) yes=yes ;;
        --dry-run) dry_run=yes ;;
        --help | -h)
            usage
            exit
            ;;
        *) die "unknown argument $1: see --help" ;;
        esac
        shift
    done
}

# --- what must hold before anything is changed -------------------------------------------------------------

check_machine() {
    [ "$(id -u)" -eq 0 ] || die 'run it as root'
    exec 9>/run/authgate-install.lock
    flock -n 9 || die 'another install.sh is at work'
    # shellcheck source=/dev/null
    [ ! -r /etc/os-release ] || . /etc/os-release
    case ${ID:-unknown}-${VERSION_ID:-} in
    debian-12 | debian-13 | ubuntu-24.04) packages='apt' ;;
    rhel-9* | rocky-9* | almalinux-9* | centos-9* | ol-9*) packages='dnf' ;;
    *)
        packages=''
        warn "${PRETTY_NAME:-this system} is not one that authgate is made for; no packages are installed here"
        ;;
    esac
}

check_source() {
    source_dir=$(cd "$(dirname "$0")/.." && pwd)
    for name in $CONTENTS; do
        [ -e "$source_dir/$name" ] || die "$source_dir lacks $name: run deploy/install.sh of a whole release"
    done
    case $source_dir/ in "$PREFIX"/*) die "run it from a new release, not from $PREFIX" ;; esac
}

check_options() {
    if [ -n "$cert$key" ]; then
        [ -z "$proxied" ] || die '--behind-proxy: the proxy has the certificate, so give none here'
        for file in "$cert" "$key"; do
            [ -r "$file" ] || die '--tls-cert and --tls-key belong together, and must be readable files'
        done
    fi
    if [ -n "$proxied" ] && grep -qs '^SERVE_OPTIONS=.*--tls-cert' $CONFIG/service.env; then
        die "--behind-proxy: first take --tls-cert and --tls-key out of $CONFIG/service.env"
    fi
    if [ -n "$wheels" ]; then
        wheels=$(cd "$wheels" 2>/dev/null && pwd) || die '--wheels: no such directory'
    fi
    if [ ! -e $CONFIG/authgate.env ]; then
        [ -n "$public_url" ] || die 'name the URL that people type: --public-url https://gateway.example.com'
        case $public_url in
        *[!A-Za-z0-9.:/_-]*) die "--public-url: $public_url is not a URL" ;;
        https://?*) ;;
        *) die '--public-url must begin with https://, also behind a proxy' ;;
        esac
    elif [ -n "$public_url" ] && ! grep -qx "AUTHGATE_PUBLIC_URL=$public_url" $CONFIG/authgate.env; then
        warn "$CONFIG/authgate.env is kept: change AUTHGATE_PUBLIC_URL there"
    fi
}

# --- the steps of an installation --------------------------------------------------------------------------

suitable() { command -v "$1" >/dev/null && "$1" -I "$source_dir/gateway_site/interpreter.py" </dev/null 2>/dev/null; }

choose_python() {
    if [ -n "$python" ]; then
        suitable "$python" || [ $? -eq 3 ] || die "--python: $python is not Python 3.11 or later with venv"
        return
    fi
    for python in python3.13 python3.12 python3.11 python3; do
        suitable $python && return
    done
    install_python
}

install_python() {
    say 'Python'
    case $packages in
    apt)
        python=python3
        quietly apt-get update
        quietly env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
            python3 python3-venv ca-certificates
        ;;
    dnf)
        python=python3.12
        quietly dnf install -y python3.12 python3.12-pip-wheel ca-certificates
        ;;
    *) die 'Python 3.11, 3.12 or 3.13 with venv is missing: install it, or name it with --python' ;;
    esac
    [ -n "$dry_run" ] || suitable "$python" || [ $? -eq 3 ] || die "$python cannot make a virtualenv"
}

make_account() {
    if id $ACCOUNT >/dev/null 2>&1; then
        return
    fi
    say "user $ACCOUNT"
    nologin=$(command -v nologin || echo /usr/sbin/nologin)
    run useradd --system --user-group --home-dir $DATA --no-create-home --shell "$nologin" $ACCOUNT
}

make_directories() {
    run install -d -o root -g root -m 0755 $PREFIX $RELEASES $PREFIX/acme
    run install -d -o root -g $ACCOUNT -m 0750 $CONFIG $CONFIG/tls
    run install -d -o $ACCOUNT -g $ACCOUNT -m 0700 $DATA
}

# Named by version and content: the same release is never installed twice, and an edited one is another.
name_release() {
    version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$source_dir/pyproject.toml")
    digest=$(
        cd "$source_dir"
        # shellcheck disable=SC2086  # names without blanks
        find $CONTENTS -type f ! -path '*/__pycache__/*' ! -path '*/node_modules/*' -exec sha256sum {} + |
            LC_ALL=C sort -k 2 | sha256sum | cut -c -10
    )
    release=$RELEASES/$version-$digest
    previous=$(readlink -f $CURRENT || true)
    [ -d "$previous" ] || previous=''
}

add_release() {
    if [ -e "$release/.complete" ]; then
        note "release $version-$digest is installed"
        return
    fi
    say "release $version-$digest"
    run rm -rf "$release"
    run install -d -o root -g root -m 0755 "$release"
    [ -n "$dry_run" ] || copy_release
    run "$python" -m venv "$release/.venv"
    say 'Python packages'
    add_packages requirements.txt
    run "$release/.venv/bin/python" -m compileall -q "$release/authgate" "$release/gateway_site" "$release/proxy"
    run touch "$release/.complete"
}

# Once the settings ask for it.
add_tracing() {
    if grep -qs '^AUTHGATE_OTLP_ENDPOINT=.' $CONFIG/authgate.env && [ ! -e "$release/.otlp" ]; then
        say 'Python packages for OpenTelemetry'
        add_packages requirements-otlp.txt
        run touch "$release/.otlp"
        changed=yes
    fi
}

# add_packages FILE: of the release, each with its hash.
add_packages() {
    file=$1
    set -- --require-hashes --only-binary :all: --no-cache-dir --disable-pip-version-check --quiet
    [ -z "$wheels" ] || set -- "$@" --no-index --find-links "$wheels"
    run "$release/.venv/bin/python" -m pip install "$@" -r "$release/$file"
}

copy_release() {
    # shellcheck disable=SC2086  # names without blanks
    tar -C "$source_dir" --exclude=__pycache__ --exclude=node_modules -cf - $CONTENTS |
        tar -C "$release" --no-same-owner -xf -
    chmod -R u=rwX,go=rX "$release"
}

# keep PATH: standard input becomes this file, unless it exists. Readable for the gateway.
keep() {
    if [ -e "$1" ]; then
        cat >/dev/null
    elif [ -n "$dry_run" ]; then
        note "would write: $1"
        cat >/dev/null
    else
        (umask 077 && cat >"$1.new")
        chown root:$ACCOUNT "$1.new"
        chmod 0640 "$1.new"
        mv "$1.new" "$1"
    fi
}

configure() {
    options="--tls-cert $CONFIG/tls/cert.pem --tls-key $CONFIG/tls/key.pem --acme-dir $PREFIX/acme"
    trusted='#AUTHGATE_TRUSTED_PROXIES=10.0.0.0/8'
    if [ -n "$proxied" ]; then
        options='' trusted='AUTHGATE_TRUSTED_PROXIES=127.0.0.1,::1'
    fi
    keep $CONFIG/authgate.env <<EOF
# Settings of the gateway and of its commands: $CURRENT/docs/settings.md. After a change: systemctl restart authgate
AUTHGATE_PUBLIC_URL=$public_url
$trusted
EOF
    keep $CONFIG/service.env <<EOF
# Options of \`serve\`, and variables that are no settings of the gateway, such as SSL_CERT_FILE=/etc/authgate/trusted.pem
SERVE_OPTIONS=$options
EOF
    if [ -n "$cert" ]; then
        run install -o root -g $ACCOUNT -m 0640 "$cert" $CONFIG/tls/cert.pem
        run install -o root -g $ACCOUNT -m 0640 "$key" $CONFIG/tls/key.pem
    elif ! is_proxied && [ ! -e $CONFIG/tls/cert.pem ]; then
        sign_certificate
    fi
}

# So that the gateway can start, and with it what a certificate authority asks for.
sign_certificate() {
    host=$(sed -n 's|^AUTHGATE_PUBLIC_URL=https://||p' $CONFIG/authgate.env 2>/dev/null || echo "${public_url#https://}")
    host=$(echo "$host" | sed 's|[:/].*||')
    note "a self-signed certificate for 90 days, which browsers warn of: bring a real one"
    (umask 077 && run "$release/.venv/bin/python" "$release/deploy/self_signed.py" "$host" \
        $CONFIG/tls/cert.pem $CONFIG/tls/key.pem)
    run chown root:$ACCOUNT $CONFIG/tls/cert.pem $CONFIG/tls/key.pem
    run chmod 0640 $CONFIG/tls/cert.pem $CONFIG/tls/key.pem
}

# as_gateway RELEASE ARGUMENT…: manage.py of this release, as the gateway's user.
as_gateway() {
    tree=$1
    shift
    quietly env -C "$tree" HOME=$DATA AUTHGATE_DATA_DIR=$DATA AUTHGATE_ENV_FILE=$CONFIG/authgate.env \
        runuser -u $ACCOUNT -- "$tree/.venv/bin/python" "$@"
}

migrate() {
    say 'database'
    if [ -n "$previous" ] && ! as_gateway "$release" manage.py migrate --check --verbosity 0 2>/dev/null; then
        back_up
    fi
    (umask 077 && as_gateway "$release" manage.py migrate --verbosity 0) ||
        die 'the database could not be migrated; nothing was switched'
}

# By the release that made the database.
back_up() {
    backup=$DATA/before-$version-$digest
    as_gateway "$previous" manage.py backup "$backup" ||
        die 'the database could not be saved; nothing was switched'
    for old in "$DATA"/before-*; do
        [ "$old" = "$backup" ] || rm -f "$old"
    done
    note "a backup of the database as it was: $backup"
}

# place SOURCE TARGET MODE: succeeds if the target was changed.
place() {
    if cmp -s "$1" "$2"; then
        return 1
    fi
    install -o root -g root -m "$3" "$1" "$2"
    changed=yes
}

# place_units RELEASE: sets $sockets_changed, and $changed.
place_units() {
    sockets_changed=''
    if [ -n "$dry_run" ]; then
        note "would write: $UNITS/authgate.service, its socket units and $COMMAND"
        return
    fi
    place "$1/deploy/systemd/authgate.service" $UNITS/authgate.service 0644 || true
    place "$1/deploy/authgate" $COMMAND 0755 || true
    if place "$1/deploy/systemd/authgate.socket" $UNITS/authgate.socket 0644; then
        sockets_changed=yes
    fi
    if is_proxied; then
        rm -f $UNITS/authgate-redirect.socket $UNITS/sockets.target.wants/authgate-redirect.socket
        install -d -m 0755 $UNITS/authgate.socket.d
        if place "$1/deploy/systemd/behind-proxy.conf" $UNITS/authgate.socket.d/behind-proxy.conf 0644; then
            sockets_changed=yes
        fi
    elif place "$1/deploy/systemd/authgate-redirect.socket" $UNITS/authgate-redirect.socket 0644; then
        sockets_changed=yes
    fi
}

is_proxied() { [ -n "$proxied" ] || [ -e $UNITS/authgate.socket.d/behind-proxy.conf ]; }

switch_to() {
    [ "$(readlink $CURRENT || true)" != "$1" ] || return 0
    run ln -sfn "$1" $PREFIX/.current
    run mv -T $PREFIX/.current $CURRENT
    changed=yes
}

has_systemd() { [ -d /run/systemd/system ]; }

active_sockets() {
    if is_proxied; then
        echo authgate.socket
    else
        echo "$SOCKETS"
    fi
}

# Returns when a worker serves (Type=notify), and fails if none does.
start_service() {
    systemctl daemon-reload
    if [ -n "$sockets_changed" ]; then
        # shellcheck disable=SC2086  # a list
        systemctl stop authgate.service $SOCKETS 2>/dev/null || true
    fi
    # shellcheck disable=SC2046  # a list
    systemctl enable --quiet authgate.service $(active_sockets) &&
        systemctl start $(active_sockets) &&
        systemctl restart authgate.service &&
        sleep 2 &&
        systemctl is-active --quiet authgate.service
}

start_or_go_back() {
    say 'service'
    if start_service; then
        note "authgate serves: systemctl status authgate"
        return
    fi
    journalctl --unit authgate --lines 15 --no-pager --output cat >&2 || true
    if [ -z "$previous" ] || [ "$previous" = "$release" ]; then
        systemctl stop authgate.service || true
        die 'the service does not get ready: the lines above say why. Mend it, and run this again'
    fi
    warn "release $version-$digest does not get ready: going back to $(basename "$previous")"
    switch_to "$previous"
    place_units "$previous"
    start_service || die 'the previous release does not get ready either: journalctl -u authgate'
    die 'the previous release serves again; the lines above say what is wrong with the new one'
}

serve() {
    if [ -n "$dry_run" ]; then
        note 'would run: systemctl enable, start and restart'
    elif ! has_systemd; then
        note 'systemd does not run here: nothing was started'
    elif [ -z "$start" ]; then
        systemctl daemon-reload
    elif [ -z "$changed" ] && systemctl is-active --quiet authgate.service; then
        note 'nothing has changed, and the service is running'
    else
        start_or_go_back
    fi
}

# What is neither current nor the one before it.
prune() {
    for old in "$RELEASES"/*; do
        case $old in "$release" | "$previous" | "$RELEASES/*") continue ;; esac
        run rm -rf "$old"
    done
}

# firewall allow|remove
firewall() {
    if is_proxied; then
        return
    fi
    if command -v ufw >/dev/null && ufw status 2>/dev/null | grep -q 'Status: active'; then
        if [ "$1" = allow ]; then
            apply ufw allow proto tcp to any port 80,443
        else
            apply ufw delete allow proto tcp to any port 80,443
        fi
    elif command -v firewall-cmd >/dev/null && firewall-cmd --state >/dev/null 2>&1; then
        [ "$1" = remove ] || set -- add
        apply firewall-cmd --permanent "--$1-service=http" "--$1-service=https"
        apply firewall-cmd --reload
    fi
}

apply() {
    if [ -n "$open_firewall" ]; then
        run "$@"
    else
        note "firewall: $*"
    fi
}

next_steps() {
    [ -z "$previous" ] || return 0
    say 'next'
    note 'authgate createsuperuser'
    note 'authgate provider add main --issuer https://idp.example.com --client-id ID --client-secret-file FILE'
    note 'authgate policy import - <policy.yaml'
    note "more: $CURRENT/docs/deployment.md"
}

install_all() {
    check_source
    check_options
    choose_python
    name_release
    make_account
    make_directories
    add_release
    configure
    add_tracing
    migrate
    place_units "$release"
    switch_to "$release"
    serve
    prune
    firewall allow
    next_steps
}

# --- uninstall ---------------------------------------------------------------------------------------------

confirm() {
    [ -z "$yes$dry_run" ] || return 0
    [ -t 0 ] || die '--purge deletes all keys and accounts: confirm with --yes'
    printf 'Delete %s and %s, with all keys and accounts? Type "delete": ' $CONFIG $DATA
    read -r confirmed
    [ "$confirmed" = delete ] || die 'nothing was changed'
}

uninstall() {
    [ -z "$purge" ] || confirm
    say 'service'
    if has_systemd; then
        # shellcheck disable=SC2086  # a list
        run systemctl disable --quiet --now authgate.service $SOCKETS 2>/dev/null || true
    fi
    firewall remove
    run rm -rf $UNITS/authgate.service $UNITS/authgate.socket $UNITS/authgate-redirect.socket $UNITS/authgate.socket.d
    run rm -f $UNITS/multi-user.target.wants/authgate.service $UNITS/sockets.target.wants/authgate.socket \
        $UNITS/sockets.target.wants/authgate-redirect.socket
    if has_systemd; then
        run systemctl daemon-reload
        run systemctl reset-failed authgate.service 2>/dev/null || true
    fi
    say 'program'
    run rm -rf $PREFIX
    run rm -f $COMMAND
    if [ -n "$purge" ]; then
        say 'data'
        run rm -rf $CONFIG $DATA $UNITS/authgate.service.d
        ! id $ACCOUNT >/dev/null 2>&1 || run userdel $ACCOUNT
    else
        note "left: $CONFIG, $DATA and the user $ACCOUNT (--purge deletes them)"
    fi
}

parse "$@"
check_machine
case $action in
install) install_all ;;
uninstall) uninstall ;;
esac
