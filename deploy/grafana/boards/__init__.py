"""The dashboards, in the order of their names in the menu."""

from deploy.grafana.boards.answers import ANSWERS
from deploy.grafana.boards.cache import CACHE
from deploy.grafana.boards.cost import COST
from deploy.grafana.boards.limits import LIMITS
from deploy.grafana.boards.service import SERVICE
from deploy.grafana.boards.stores import STORES

DASHBOARDS = (ANSWERS, CACHE, COST, LIMITS, SERVICE, STORES)
