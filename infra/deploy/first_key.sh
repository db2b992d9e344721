#!/usr/bin/env bash
# Makes an administrator's API key where no token of the issuer is at hand, and shows it once:
# `infra/deploy/first_key.sh STATE_TABLE`. Only its SHA-256 is stored. Needs the aws command line,
# and leave to put items into the table.
set -euo pipefail

table="${1:?which table? See the output StateTable of the stack}"
key="mk_$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')"
hash="$(printf %s "$key" | sha256sum | cut -d' ' -f1)"
id="key_${hash:0:24}"
now="$(date -u +%Y-%m-%dT%H:%M:%S.000Z)"

aws dynamodb put-item --table-name "$table" --condition-expression 'attribute_not_exists(pk)' --item "$(
  cat <<ITEM
{"pk": {"S": "KEY#$id"}, "sk": {"S": "-"}, "kind": {"S": "api_key"}, "kind_sort": {"S": "$now#$id"},
 "id": {"S": "$id"}, "name": {"S": "first key"}, "hash": {"S": "$hash"}, "created_at": {"S": "$now"},
 "scopes": {"SS": ["usage:admin", "usage:read", "usage:write"]}}
ITEM
)"
echo "$key"
