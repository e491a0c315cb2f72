#!/bin/sh
# Saves the database and the .env (its keys are in no dump), and forgets what is too old.
set -eu
umask 077
cd "$(dirname "$0")"
mkdir -p backups
saved=backups/$(date -u +%Y%m%d_%H%M%S)
trap 'rm -f "$saved.sql"' EXIT
# To a file and not through a pipe: a pipe would hide that the dump failed.
docker compose -p {project} -f "$PWD/compose.yml" exec -T postgres pg_dump -U {generation} {generation} >"$saved.sql"
gzip -f "$saved.sql"
gzip -t "$saved.sql.gz"
cp .env "$saved.env"
find backups -type f -mtime +{keep} -delete
