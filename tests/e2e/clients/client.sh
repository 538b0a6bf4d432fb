#!/usr/bin/env bash
# curl, with habits of old clients: Expect: 100-continue, HTTP/1.0, chunks, credentials now in the body, now as Basic.
set -euo pipefail

ask() { # ask PATH OPTION...: the body, then a line with status and x-ca-err
    local path=$1
    shift
    curl --silent --show-error --noproxy '*' --write-out '\n%{http_code} %header{x-ca-err}\n' "$@" "$BASE$path"
}
credentials=(--data-urlencode "client_id=$CLIENT_ID" --data-urlencode "client_secret=$CLIENT_SECRET")
text() { sed -n "s/.*\"$1\": \{0,1\}\"\{0,1\}\([^\",]*\)\"\{0,1\},\{0,1\}\r*$/\1/p" <<<"$2"; }
status() { local line; line=$(tail -1 <<<"$1") && printf '[%s,"%s","%s"]' "${line% *}" "${line#* }" "$(text error "$1")"; }
active() { text active "$(ask /introspect "${credentials[@]}" --data "token=$1")"; }
refresh() { ask '' --http1.0 "${credentials[@]}" --data "grant_type=refresh_token&refresh_token=$1"; }

first=$(ask '' -H 'Expect: 100-continue' "${credentials[@]}" --data grant_type=passport \
    --data-urlencode "certificate=$CERTIFICATE" --data "algorithm=$ALGORITHM" \
    --data-urlencode "signature=$SIGNATURE" --data scope=client_registration)
next=$(refresh "$(text refresh_token "$first")")
access=$(text access_token "$next") last=$(text refresh_token "$next")
before=$(active "$access")
revoked=$(ask /revoke --user "$CLIENT_ID:$CLIENT_SECRET" -H 'Transfer-Encoding: chunked' --data "token=$access")
after=$(active "$access")
denied=$(ask '' --user "$CLIENT_ID:wrong" --data grant_type=passport)

printf '{"first":["%s","%s",%s,"%s"],"next":["%s","%s"],"before":%s,"revoked":"%s","after":%s,"refused":%s,"denied":%s}\n' \
    "$(text access_token "$first")" "$(text refresh_token "$first")" "$(text expires_in "$first")" "$(text scope "$first")" \
    "$access" "$last" "$before" "$(text result "$revoked")" "$after" "$(status "$(refresh "$last")")" "$(status "$denied")"
