import os
import subprocess
import sys
from pathlib import Path


def test_the_encoders_runtime_leaves_no_device_id_and_no_queue_of_reports(tmp_path: Path) -> None:
    """onnxruntime 1.31 makes both in the user's cache as soon as it is imported, and sends reports from there."""
    silent = ("CI", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS", "XDG_CACHE_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in silent}
    program = "import ragents.embeddings.onnx"
    subprocess.run([sys.executable, "-c", program], env=environment | {"HOME": str(tmp_path)}, check=True, timeout=60)
    assert list(tmp_path.rglob("*onnxruntime*")) == []
