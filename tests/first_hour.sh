#!/usr/bin/env bash
# A stranger's first hour: each command and each block of code of README.md and of the first pages, as they stand there,
# from a fresh clone with an empty home and without pip's cache. `tests/first_hour.sh DIRECTORY` leaves the clone in
# DIRECTORY/ppl_vae; without DIRECTORY, nothing is left. Needs git, and what README asks for.
set -euo pipefail

checkout=$(cd "$(dirname "$0")/.." && pwd)
directory=${1:-}
if [[ -z $directory ]]; then
  directory=$(mktemp -d)
  trap 'rm -rf "$directory"' EXIT
fi
clone=$directory/ppl_vae
mkdir -p "$directory"
mkdir "$directory/home"

# The state of the checkout, committed or not: what is tried is what will be pushed. An archive has no history to clone.
if git -C "$checkout" rev-parse --git-dir >/dev/null 2>&1; then
  git clone -q "$checkout" "$clone"
  git -C "$checkout" ls-files -z --deleted | (cd "$clone" && xargs -0 rm -f --)
  (cd "$checkout" && { git ls-files -z --deleted; git ls-files -z --cached --others --exclude-standard; } |
    sort -z | uniq -zu | tar -c --null --no-recursion -T -) | tar -x -C "$clone"
else
  mkdir "$clone"
  sed 's:/$::' "$checkout/.gitignore" | tar -c -C "$checkout" --exclude-from=- . | tar -x -C "$clone"
fi

# Nothing of this user: no caches, no settings of tools, no active environment, no flags of a make around this script.
for name in $(compgen -e | grep -E '^(XDG_|PYTHON|MAKE|MFLAGS$|VIRTUAL_ENV|CONDA|MPL|TORCH|HYDRA)'); do unset "$name"; done
export HOME=$directory/home PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1

cd "$clone"
python3 tests/first_hour.py README.md docs/getting-started.md docs/own-pair.md
