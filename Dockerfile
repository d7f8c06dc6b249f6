# What every node of a cluster runs. Build it from the project's root:
#
#     docker build -t scrfd-nas .
#     docker run --rm scrfd-nas scrfd-nas demo                          # CPU
#     docker run --rm --gpus all --shm-size 16g -v /data:/data scrfd-nas \
#         scrfd-nas stage1 --flops 2.5G --data /data/retinaface --search-dir /data/runs/scrfdgen2.5g
#
# torch's wheels bring CUDA; the host needs NVIDIA's driver and container toolkit only.
FROM python:3.11-slim

# Ray's cluster launcher (tmux: `ray exec --tmux`) and KubeRay's probes call these tools.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates openssh-client procps rsync tmux wget \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY search_spaces search_spaces
COPY trials trials
COPY reports reports
COPY nas nas
# ray[default] and boto3: the dashboard's job server and the autoscaler on AWS, on head nodes.
RUN pip install --no-cache-dir ".[postgres]" "ray[default,train,tune]" boto3

RUN useradd --create-home --uid 1000 ray
USER ray
WORKDIR /home/ray
CMD ["scrfd-nas", "--help"]
