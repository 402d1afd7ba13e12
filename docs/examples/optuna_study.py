"""A study of one's own with Optuna, where `recsys tune` is not enough: here with two aims, hits and coverage.

python optuna_study.py ratings.csv --trials 20
"""

from __future__ import annotations

import argparse

import optuna

import recsys


def study(log: recsys.Interactions, trials: int, epochs: int = 3) -> optuna.Study:
    """Search for the options that find most and cover most, on validation; the test is left alone."""
    split = recsys.leave_last_out(log)
    validation = split.validation

    def figures(trial: optuna.Trial) -> tuple[float, float]:
        model = recsys.TwoTower(
            encoder=None,
            dim=trial.suggest_categorical("dim", [16, 32]),
            max_length=20,
            dropout=trial.suggest_float("dropout", 0.0, 0.5),
        )
        training = recsys.Training(
            epochs=epochs, learning_rate=trial.suggest_float("learning_rate", 3e-4, 1e-2, log=True), device="cpu"
        )
        model.fit(split.train, validation=validation, training=training)
        found = recsys.evaluate(model, validation, k=10)
        return found["ndcg@10"], found["coverage@10"]

    made = optuna.create_study(directions=["maximize", "maximize"], sampler=optuna.samplers.TPESampler(seed=0))
    made.optimize(figures, n_trials=trials)
    return made


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log")
    parser.add_argument("--trials", type=int, default=20)
    given = parser.parse_args(words)
    made = study(recsys.read_interactions(given.log, user="userId", item="movieId"), given.trials)
    print("trials that no other is better than in both:")
    for trial in made.best_trials:
        print(f"  NDCG@10 {trial.values[0]:.4f}, coverage@10 {trial.values[1]:.4f}: {trial.params}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
