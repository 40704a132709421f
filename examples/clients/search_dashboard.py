"""A pruning search in a database, and the answers of optuna-dashboard about its trials.

Look at it in a browser with ``optuna-dashboard sqlite:///search.db``.
"""

import json
import tempfile
import threading
import urllib.request
from pathlib import Path
from wsgiref.simple_server import make_server

from optuna.pruners import MedianPruner
from optuna.storages import RDBStorage
from optuna_dashboard import wsgi

from gnnpre import CGCNN, PropertyRegressor, StructureToGraph
from gnnpre.datasets import make_emt_property
from gnnpre.model_selection import PruningSearchCV

structures, y = make_emt_property(40, max_atoms=4, random_state=0)
graphs = StructureToGraph(cutoff=4.0).fit_transform(structures)
storage = f"sqlite:///{Path(tempfile.mkdtemp()) / 'search.db'}"

# Learning rates that cannot learn: their trials are pruned after a few epochs.
search = PruningSearchCV(
    PropertyRegressor(CGCNN(8, 1), max_epochs=6, random_state=0),
    lambda trial: {"learning_rate": trial.suggest_float("rate", 1e-9, 1e-2, log=True)},
    cv=2,
    n_trials=10,
    pruner=MedianPruner(n_startup_trials=3),
    storage=storage,
    study_name="rates",
    random_state=0,
).fit(graphs, y)

server = make_server("127.0.0.1", 0, wsgi(RDBStorage(storage)))
threading.Thread(target=server.serve_forever, daemon=True).start()


def ask(path: str) -> dict:
    """Return an answer of the server."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}{path}") as answer:
        return json.load(answer)


(study,) = ask("/api/studies")["study_summaries"]
trials = ask(f"/api/studies/{study['study_id']}?after=0")["trials"]
states = [trial["state"] for trial in trials]
print({state: states.count(state) for state in sorted(set(states))})
assert "Pruned" in states

# The dashboard draws the values of complete trials only, and the best of them is the search's.
values = [trial["values"][0] for trial in trials if trial["state"] == "Complete"]
best = max(values) if study["directions"][0] == "maximize" else min(values)
assert abs(best - search.best_score_) < 1e-9, (best, search.best_score_)
print("best of the dashboard and of the search:", best)
server.shutdown()
