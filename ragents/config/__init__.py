"""Settings: where they come from and the directory that data lives in. What each room can be told sits in that room."""

from ragents.config.base import Config
from ragents.config.home import data_home, in_image
from ragents.config.loading import load_settings
from ragents.config.rag_config import RAGConfig

__all__ = ["Config", "RAGConfig", "data_home", "in_image", "load_settings"]
