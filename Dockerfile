# The service with an ONNX file, without torch; a build needs the package index alone.
#   docker build -t sentiment .
#   docker run -p 8000:8000 -v "$PWD/model.onnx:/model.onnx:ro" -e SENTIMENT_API_KEY=... sentiment
FROM python:3.11-slim
WORKDIR /sentiment
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY conf conf
COPY src src
RUN pip install --no-cache-dir --constraint constraints.txt '.[predict,serve]'
USER nobody
ENV SENTIMENT_CACHE=/tmp/sentiment
EXPOSE 8000
ENTRYPOINT ["python", "-m", "sentiment.serve", "--host", "0.0.0.0"]
CMD ["/model.onnx"]
