# The light core: reads, verifies, signs, reports, and asks a model behind a server. EXTRAS=[all] adds models and scorers:
#   docker build -t safety-eval . ; docker run --rm -v "$PWD/runs:/runs" safety-eval verify /runs/release --key /runs/ann.pub
FROM python:3.11-slim
ARG EXTRAS=""
WORKDIR /src
COPY . .
RUN pip install --no-cache-dir -c constraints.txt ".${EXTRAS}" && rm -rf /src
RUN useradd --create-home evaluator
USER evaluator
WORKDIR /runs
ENTRYPOINT ["safety-eval"]
