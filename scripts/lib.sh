# shellcheck shell=bash
# Sourced by the other scripts: where things are kept, and how we speak.
# stdout carries results, stderr talk.

unset CDPATH # with it `cd` prints, too
repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${XDG_CACHE_HOME:-${HOME-}/.cache}/passbridge
export repo cache

say() { printf '%s: %s\n' "${say_as:-passbridge}" "$*" >&2; }
die() {
    say "$*"
    exit 1
}

# For who keeps something there. Many a script does not, and runs where there is no home.
make_cache() {
    [ -n "${XDG_CACHE_HOME-}${HOME-}" ] || die "neither HOME nor XDG_CACHE_HOME says where things are kept"
    mkdir -p "$cache"
}

have() { command -v "$1" >/dev/null 2>&1; }

# Where cargo puts programs: .cargo/config.toml builds for a named target, so it is target/TUPLE/PROFILE.
built() { # built PROFILE PROGRAM -> path
    local target=${CARGO_TARGET_DIR:-$repo/target} tuple
    tuple=$(rustc --print host-tuple)
    printf '%s/%s/%s/%s\n' "$target" "$tuple" "$1" "$2"
}

# Programs of the pinned Python packages (scripts/requirements/NAME.txt), for those who need them.
venv() { printf '%s/venv-%s/bin\n' "$cache" "$1"; }

# Static: no interpreter is asked for and no library is needed. binutils come with every C compiler.
is_static() { ! LC_ALL=C readelf --wide --program-headers --dynamic "$1" | grep -qE 'INTERP|\(NEEDED\)'; }
