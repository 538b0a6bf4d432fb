# shellcheck shell=bash
# Sourced by the tests that are shell scripts: a folder of their own ($work), sentences, and a tally that CI reads.

work=$(mktemp -d)
export work
trap 'rm -rf "$work"' EXIT
passed=0 failed=0

it() { # it SENTENCE COMMAND...: the command's output is shown only if it fails
    local sentence=$1
    shift
    if "$@" >"$work/output" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        say "FAILED: $sentence"
        sed 's/^/    /' "$work/output" >&2
    fi
}

status() { # status EXPECTED COMMAND...
    local expected=$1 got=0
    shift
    "$@" || got=$?
    [ "$got" = "$expected" ] || { echo "exit status $got instead of $expected" && return 1; }
}

eventually() { # eventually COMMAND...: within ten seconds
    local end=$((SECONDS + 10))
    until "$@"; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.1
    done
}

tally() { # tally NAME: the last line of a test
    echo "$1: $passed passed, $failed failed"
    [ "$failed" = 0 ]
}
