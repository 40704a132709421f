"""A pipeline that MLflow logs by itself, and a fitted model logged as an artifact."""

import tempfile
from pathlib import Path

import mlflow
import numpy as np
from sklearn.pipeline import make_pipeline

from gnnpre import CGCNN, PropertyRegressor, StructureToGraph
from gnnpre.datasets import make_emt_property

structures, y = make_emt_property(24, max_atoms=4, random_state=0)
folder = Path(tempfile.mkdtemp())
mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
mlflow.set_experiment(experiment_id=mlflow.create_experiment("x", str(folder / "artifacts")))

# 1. autolog: parameters and metrics of a pipeline
mlflow.sklearn.autolog(log_models=False)
regressor = PropertyRegressor(CGCNN(8, 1), max_epochs=2, random_state=0)
pipeline = make_pipeline(StructureToGraph(cutoff=4.0), regressor)
with mlflow.start_run() as run:
    pipeline.fit(structures, y)
parameters = mlflow.get_run(run.info.run_id).data.params
assert parameters["propertyregressor__max_epochs"] == "2"
print(f"autolog: {len(parameters)} parameters")

# 2. the fitted model
mlflow.sklearn.autolog(disable=True)
with mlflow.start_run():
    # Requirements that are not named are found by running the model once more, which takes longer.
    logged = mlflow.sklearn.log_model(
        pipeline,
        name="model",
        serialization_format=mlflow.sklearn.SERIALIZATION_FORMAT_CLOUDPICKLE,
        pip_requirements=["gnnpre"],
    )
loaded = mlflow.sklearn.load_model(logged.model_uri)
np.testing.assert_array_equal(loaded.predict(structures), pipeline.predict(structures))

# 3. or the file of gnnpre, which runs no code when it is loaded
with mlflow.start_run() as run:
    pipeline[-1].save(folder / "model.gnnpre")
    mlflow.log_artifact(str(folder / "model.gnnpre"))
path = mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="model.gnnpre")
expected = pipeline.predict(structures)
np.testing.assert_array_equal(PropertyRegressor.load(path).predict(structures), expected)
print("log_model, log_artifact: equal predictions")
