#!/usr/bin/env bash
# Both stages on a cluster that runs already, on its head (`ray submit` takes Python only).
# Change the paths: every node sees them.
set -euo pipefail
cd /efs
scrfd-nas stage1 --flops 2.5G --data /efs/retinaface --search-dir runs/scrfdgen2.5g --ray-address auto
scrfd-nas stage2 --template best --search-dir runs/scrfdgen2.5g --ray-address auto
scrfd-nas report --search-dir runs/scrfdgen2.5g
