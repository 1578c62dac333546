# ruff: noqa: T201, TID253 - a script for an environment of its own
"""Write ONNX files with skl2onnx, and what scikit-learn itself answers: ``python sklearn_files.py FOLDER``.

It needs scikit-learn, skl2onnx and pandas, and imports nothing of the project.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
from skl2onnx import convert_sklearn, to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn import ensemble, linear_model, naive_bayes, neighbors, neural_network, pipeline, preprocessing, svm, tree
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.multioutput import MultiOutputRegressor

RNG = np.random.default_rng(5)
X = RNG.normal(size=(150, 4)).astype("float32")
X[::2] = X[::2].round(1)
NUMBER = (X[:, 0] + 2 * X[:, 1] ** 2).astype("float32")
KIND = np.digitize(NUMBER, [0.5, 2.0])
NAMES = np.array(["setosa", "versicolor", "virginica"])[KIND]
TEXTS = np.array([" ".join(RNG.choice(["good", "bad", "plot", "actor", "slow", "Fine"], 5)) for _ in X])

CLASSIFIERS: dict[str, Any] = {
    "logistic": linear_model.LogisticRegression(max_iter=500),
    "forest": ensemble.RandomForestClassifier(12, max_depth=5, random_state=0),
    "boosting": ensemble.GradientBoostingClassifier(n_estimators=12, random_state=0),
    "tree": tree.DecisionTreeClassifier(max_depth=5, random_state=0),
    "svc": svm.SVC(probability=True, random_state=0),
    "neighbours": neighbors.KNeighborsClassifier(5),
    "bayes": naive_bayes.GaussianNB(),
    "perceptron": neural_network.MLPClassifier((8,), max_iter=300, random_state=0),
    "pipeline": pipeline.make_pipeline(
        SimpleImputer(), preprocessing.StandardScaler(), PCA(3), linear_model.LogisticRegression(max_iter=500)
    ),
    "polynomial": pipeline.make_pipeline(
        preprocessing.PolynomialFeatures(2), preprocessing.MinMaxScaler(), linear_model.LogisticRegression(max_iter=999)
    ),
    "voting": ensemble.VotingClassifier(
        [("a", linear_model.LogisticRegression(max_iter=500)), ("b", naive_bayes.GaussianNB())],
        voting="soft",
        flatten_transform=False,
    ),
}
REGRESSORS: dict[str, Any] = {
    "linear": linear_model.LinearRegression(),
    "ridge": linear_model.Ridge(),
    "forest": ensemble.RandomForestRegressor(12, max_depth=5, random_state=0),
    "boosting": ensemble.GradientBoostingRegressor(n_estimators=12, random_state=0),
    "svr": svm.SVR(),
    "perceptron": neural_network.MLPRegressor(hidden_layer_sizes=(8,), max_iter=300, random_state=0),
}


def write(folder: Path, name: str, onnx: Any, inputs: list[np.ndarray], answers: list[np.ndarray]) -> None:
    """Write a model, its inputs and its answers."""
    (folder / f"{name}.onnx").write_bytes(onnx.SerializeToString())
    arrays = {f"x{place}": array for place, array in enumerate(inputs)}
    np.savez(folder / name, **arrays, **{f"y{place}": np.asarray(array) for place, array in enumerate(answers)})


def classifiers(folder: Path) -> None:
    rows = X[:5]
    for name, model in CLASSIFIERS.items():
        for ending, labels in (("", KIND), ("_names", NAMES)):
            model.fit(X, labels)
            answers = [model.predict(rows), model.predict_proba(rows).astype("float32")]
            try:
                write(folder, name + ending, to_onnx(model, X[:1]), [rows], answers)
                tensor = to_onnx(model, X[:1], options={"zipmap": False})
                write(folder, f"{name}{ending}_without_zipmap", tensor, [rows], answers)
            except Exception as error:  # skl2onnx does not fit every version of scikit-learn
                print(f"{name}{ending}: left out: {type(error).__name__}: {str(error).splitlines()[0][:100]}")
    for opset in (11, 13, 15, 18, 20):
        model = CLASSIFIERS["logistic"].fit(X, KIND)
        answers = [model.predict(rows), model.predict_proba(rows).astype("float32")]
        write(folder, f"opset_{opset}", to_onnx(model, X[:1], target_opset=opset), [rows], answers)
    two = linear_model.LogisticRegression().fit(X, NUMBER > 1)
    answers = [two.predict(rows), two.predict_proba(rows).astype("float32")]
    write(folder, "two_classes", to_onnx(two, X[:1]), [rows], answers)
    columns = to_onnx(model, X[:1], options={id(model): {"zipmap": "columns"}})
    chances = model.predict_proba(rows).astype("float32")
    write(folder, "zipmap_columns", columns, [rows], [model.predict(rows), *(chances[:, n] for n in range(3))])


def regressors(folder: Path) -> None:
    for name, model in REGRESSORS.items():
        model.fit(X, NUMBER)
        write(folder, f"regression_{name}", to_onnx(model, X[:1]), [X[:5]], [model.predict(X[:5]).reshape(-1, 1)])
    model = MultiOutputRegressor(linear_model.Ridge()).fit(X, X[:, :2] * 2)
    write(folder, "regression_two", to_onnx(model, X[:1]), [X[:5]], [model.predict(X[:5])])
    model = linear_model.Ridge().fit(X.astype("float64"), NUMBER)
    rows = X[:5].astype("float64")
    write(folder, "regression_float64", to_onnx(model, rows[:1]), [rows], [model.predict(rows).reshape(-1, 1)])


def others(folder: Path) -> None:
    model = PCA(2).fit(X)
    write(folder, "pca", to_onnx(model, X[:1]), [X[:5]], [model.transform(X[:5])])
    model = KMeans(3, n_init=3, random_state=0).fit(X)
    write(folder, "kmeans", to_onnx(model, X[:1]), [X[:5]], [model.predict(X[:5]), model.transform(X[:5])])
    model = preprocessing.KBinsDiscretizer(3, encode="ordinal").fit(X)
    write(folder, "bins", to_onnx(model, X[:1]), [X[:5]], [model.transform(X[:5])])
    model = ensemble.IsolationForest(n_estimators=20, random_state=0).fit(X)
    scores = model.decision_function(X[:5]).reshape(-1, 1)
    onnx = to_onnx(model, X[:1], target_opset={"": 15, "ai.onnx.ml": 3})
    write(folder, "isolation", onnx, [X[:5]], [model.predict(X[:5]).reshape(-1, 1), scores])


def texts(folder: Path) -> None:
    rows = TEXTS[:5].reshape(-1, 1)
    kinds: list[tuple[str, Any]] = [("tfidf", TfidfVectorizer()), ("counts", CountVectorizer(ngram_range=(1, 2)))]
    for name, vectorizer in kinds:
        model = pipeline.make_pipeline(vectorizer, linear_model.LogisticRegression(max_iter=500)).fit(TEXTS, NAMES)
        onnx = convert_sklearn(model, initial_types=[("text", StringTensorType([None, 1]))])
        answers = [model.predict(TEXTS[:5]), model.predict_proba(TEXTS[:5]).astype("float32")]
        write(folder, f"text_{name}", onnx, [rows], answers)


def tables(folder: Path) -> None:
    columns = {"Sepal.Length": X[:, :1], "sepal width": X[:, 1:2], "colour": NAMES.reshape(-1, 1)}
    frame = pandas.DataFrame({name: values.ravel() for name, values in columns.items()})
    encode: Callable[[], Any] = lambda: preprocessing.OneHotEncoder(handle_unknown="ignore")  # noqa: E731
    mixed = ColumnTransformer(
        [("numbers", preprocessing.StandardScaler(), ["Sepal.Length", "sepal width"]), ("kinds", encode(), ["colour"])]
    )
    model = pipeline.make_pipeline(mixed, linear_model.LogisticRegression(max_iter=500)).fit(frame, NUMBER > 1)
    kinds = [
        (name, StringTensorType([None, 1]) if name == "colour" else FloatTensorType([None, 1])) for name in columns
    ]
    onnx = convert_sklearn(model, initial_types=kinds)
    answers = [model.predict(frame[:5]), model.predict_proba(frame[:5]).astype("float32")]
    write(folder, "table", onnx, [values[:5] for values in columns.values()], answers)
    model = preprocessing.OrdinalEncoder().fit(NAMES.reshape(-1, 1))
    onnx = convert_sklearn(model, initial_types=[("kind", StringTensorType([None, 1]))])
    write(folder, "ordinal", onnx, [NAMES[:5].reshape(-1, 1)], [model.transform(NAMES[:5].reshape(-1, 1))])


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for part in (classifiers, regressors, others, texts, tables):
        try:
            part(target)
        except Exception as error:
            print(f"{part.__name__}: left out: {type(error).__name__}: {str(error).splitlines()[0][:200]}")
