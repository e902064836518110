#!/usr/bin/env bash
# Install the Debian packages that only the tests need; does nothing when all are there.
#
# As root, or where sudo asks for no password, through apt-get. Elsewhere it names what is missing and fails.
# Packages must not start services while they are installed, so a policy-rc.d refuses that for the time being.
set -euo pipefail

PACKAGES=(
    chromium                          # the page, as a browser shows it
    fonts-dejavu-core                 # letters on its screenshots
    ustreamer                         # an MJPEG source that is not ours, and the peer in bench/
    strace                            # kills and failing disks at a chosen system call
    gcc libc6-dev                     # test drivers that segfault or hold the interpreter lock
    python3-gi                        # the RTSP server below
    gir1.2-gst-rtsp-server-1.0
    gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly
    e2fsprogs                         # small file systems that fill up
    iproute2 nftables                 # network namespaces, and packets that get lost in them
    systemd                           # judges the unit, and runs it in namespaces of its own
    indi-bin                          # indiserver with its camera simulator
    mosquitto                         # the MQTT broker
    redis-server                      # what stations stream to
    prometheus                        # scrapes a running station; promtool judges metrics, rules and dashboards
)
POLICY=/usr/sbin/policy-rc.d
OURS="no service starts while cupola installs its test packages"
export DEBIAN_FRONTEND=noninteractive

missing() {
    local package
    for package in "${PACKAGES[@]}"; do
        [[ $(dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null || true) == installed ]] || echo "$package"
    done
}

restore_policy() {
    if [[ -e $POLICY.before-cupola || -L $POLICY.before-cupola ]]; then
        mv -f "$POLICY.before-cupola" "$POLICY"
    else
        rm -f "$POLICY"
    fi
}

refuse_service_starts() {
    # Ours may still lie there from a run that was killed: that one is not worth keeping.
    if [[ -e $POLICY || -L $POLICY ]] && ! grep -qs "$OURS" "$POLICY"; then
        mv "$POLICY" "$POLICY.before-cupola"
    fi
    trap restore_policy EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    printf '#!/bin/sh\n# %s\nexit 101\n' "$OURS" >"$POLICY"
    chmod 755 "$POLICY"
}

apt_install() {
    apt-get install --yes --quiet --no-install-recommends -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" </dev/null
}

install_as_root() {
    local log
    log=$(mktemp)
    refuse_service_starts
    # The package lists of a new machine are empty, those of an old one stale: one update, then it must work.
    if ! apt_install "$@" >"$log" 2>&1; then
        if ! { apt-get update --quiet -o DPkg::Lock::Timeout=300 && apt_install "$@"; } >"$log" 2>&1; then
            tail -n 30 "$log" >&2
            rm -f "$log"
            echo "apt-get could not install: $*" >&2
            exit 1
        fi
    fi
    rm -f "$log"
}

if [[ ${1:-} == --as-root ]]; then
    shift
    install_as_root "$@"
    exit
fi

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "The tests need Debian's packages (or their like elsewhere), and there is no apt-get here: ${PACKAGES[*]}" >&2
    echo "On a machine without them: .venv/bin/python -m pytest -m 'not browser and not torture'" >&2
    exit 1
fi

mapfile -t wanted < <(missing)
if [[ ${#wanted[@]} -eq 0 ]]; then
    exit 0
fi
echo "Installing Debian packages for the tests: ${wanted[*]}"
if [[ $EUID -eq 0 ]]; then
    install_as_root "${wanted[@]}"
elif command -v sudo >/dev/null && sudo --non-interactive true 2>/dev/null; then
    sudo --non-interactive bash "$0" --as-root "${wanted[@]}"
else
    echo "Neither root nor sudo without a password. Please install them and run again:" >&2
    echo "  sudo apt-get install --no-install-recommends ${wanted[*]}" >&2
    exit 1
fi
