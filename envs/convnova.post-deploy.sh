#!/bin/sh
# Run by Snakemake in the new environment: the package itself, from the checkout that snakemake is started in.
pip install --no-deps --editable .
