"""What the commands do, as functions for Python too: each takes plain arguments and returns a result object."""

from recsys.pipeline.bundles import ItemChanges as ItemChanges
from recsys.pipeline.bundles import change_bundle as change_bundle
from recsys.pipeline.bundles import recommend_batch as recommend_batch
from recsys.pipeline.evaluate import CUTS as CUTS
from recsys.pipeline.evaluate import EvaluationResult as EvaluationResult
from recsys.pipeline.evaluate import ReportFiles as ReportFiles
from recsys.pipeline.evaluate import compare_bundles as compare_bundles
from recsys.pipeline.evaluate import evaluate_bundle as evaluate_bundle
from recsys.pipeline.evaluate import load_held_out as load_held_out
from recsys.pipeline.evaluate import report_bundle as report_bundle
from recsys.pipeline.fit import FitResult as FitResult
from recsys.pipeline.fit import UnreportedError as UnreportedError
from recsys.pipeline.fit import estimate_fit as estimate_fit
from recsys.pipeline.fit import fit_bundle as fit_bundle
from recsys.pipeline.lists import ListsResult as ListsResult
from recsys.pipeline.lists import evaluate_lists as evaluate_lists
from recsys.pipeline.membership import Membership as Membership
from recsys.pipeline.membership import membership_test as membership_test
from recsys.pipeline.search import fit_trial as fit_trial
from recsys.pipeline.search import tune_log as tune_log
from recsys.pipeline.update import UpdateResult as UpdateResult
from recsys.pipeline.update import update_bundle as update_bundle
