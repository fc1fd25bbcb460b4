# The image of every node, on AWS (cluster.yaml) and on Kubernetes (jobs/kuberay.yaml): Ray, torch with its CUDA, padray.
#
#   make image IMAGE=REGISTRY/padray:0.1.0
#
# Torch brings CUDA along, so Ray's image without CUDA is enough; a node with GPUs adds its driver.
# The user is Ray's: `ray`, 1000 in the group 100, who must be able to write to a storage folder.
FROM rayproject/ray:2.60.0-py311-cpu

# Nodes without a GPU compile their gradients (compute.compile).
RUN sudo apt-get update && sudo apt-get install --yes --no-install-recommends g++ && sudo rm -rf /var/lib/apt/lists/*

# What padray needs, in a layer of its own: 5 GB that new code does not send again.
COPY --chown=1000:100 pyproject.toml constraints.txt README.md LICENSE /home/ray/source/
COPY --chown=1000:100 padray/__init__.py /home/ray/source/padray/
RUN python -m pip install --no-cache-dir --constraint /home/ray/source/constraints.txt /home/ray/source

COPY --chown=1000:100 padray /home/ray/source/padray
RUN python -m pip install --no-cache-dir --no-deps --force-reinstall /home/ray/source && padray --version
