"""Configuration: one typed class per process, read from the environment and from a TOML file.

The environment wins over the file that MILIMO_CONFIG names. Every default runs on a laptop: SQLite, files, loopback.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from milimo_runtime.limits import OPEN_JOBS


def default_home() -> Path:
    """Where Milimo keeps its data unless MILIMO_HOME says otherwise."""
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local/share") / "milimo"


# "~" is the user's folder also in a file, where no shell replaces it.
UserPath = Annotated[Path, AfterValidator(Path.expanduser)]

ParkWeights = Literal["auto", "always", "never"]


def _on_latent_grid(frames: int) -> int:
    if frames % 8 != 1:
        raise ValueError(f"the video model makes 8k + 1 frames at a time, not {frames}")
    return frames


class Settings(BaseSettings):
    """Base of all settings: MILIMO_ variables over the TOML file that MILIMO_CONFIG names, over the defaults."""

    model_config = SettingsConfigDict(env_prefix="MILIMO_", extra="ignore", frozen=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, environment, file: the first that has a value wins."""
        file = os.environ.get("MILIMO_CONFIG")
        sources = (init_settings, env_settings)
        if not file:
            return sources
        if not Path(file).is_file():
            raise FileNotFoundError(f"MILIMO_CONFIG names {file}, and there is no such file")
        return (*sources, TomlConfigSettingsSource(settings_cls, Path(file)))


class MeshSettings(Settings):
    """What every process of the mesh knows: where the data are and where the others answer."""

    home: UserPath = Field(default_factory=default_home, description="Folder of the database, media, models and logs")
    log_format: Literal["json", "text"] = Field(default="json", description="Form of the log lines on stderr")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    otlp_endpoint: str | None = Field(
        default=None, description="OpenTelemetry collector, such as http://127.0.0.1:4317"
    )
    model_family: str = Field(default="shapes", description="Which models to load: shapes, real or tiny")
    drain_seconds: float = Field(default=20.0, ge=0, description="How long a process may finish its work on SIGTERM")

    arbiter_address: str = "127.0.0.1:50050"
    video_address: str = "127.0.0.1:50051"
    image_address: str = "127.0.0.1:50052"
    segmentation_address: str = "127.0.0.1:50053"
    storyboard_address: str = "127.0.0.1:50054"
    edge_address: str = "127.0.0.1:50055"


class ServiceSettings(MeshSettings):
    """What the processes that keep data or run models know beyond that."""

    database_url: str | None = Field(default=None, description="SQLAlchemy URL; default: SQLite in the home folder")
    media_url: str | None = Field(default=None, description="file: or s3: URL; default: a folder of the home folder")
    models_dir: UserPath | None = Field(default=None, description="Folder of the models; default: in the home folder")
    device: Literal["auto", "cuda", "mps", "cpu"] = "auto"
    torch_threads: int | None = Field(default=None, ge=1, description="CPU threads of one model; default: torch's")
    park_weights: ParkWeights = Field(
        default="auto",
        description="Where weights that leave the device wait in host memory: auto (on CUDA), always, never",
    )
    image_model: str = Field(
        default="flux-2",
        description="Which FLUX.2 of the family: flux-2 (distilled), or flux-2-base (50 steps, guided)",
    )
    video_chunk_frames: Annotated[int, AfterValidator(_on_latent_grid)] = Field(
        default=121, ge=9, description="Frames of one pass of the video model, 8k + 1; longer videos are chained"
    )
    text_max_new_tokens: int = Field(default=512, ge=1, le=16384, description="Tokens of a generated text, at most")
    text_temperature: float = Field(default=0.7, ge=0, le=2, description="Of generated text; 0 is greedy")
    text_top_p: float = Field(default=0.9, gt=0, le=1, description="Share of likely tokens that text is drawn from")
    text_prompt_tokens: int = Field(default=16384, ge=1, description="Tokens of a chat that text is generated for")
    prompt_provider: Literal["none", "gemma", "ollama"] = Field(
        default="none", description="Who enriches prompts and continues them over the chunks of a long video"
    )
    prompt_ollama_url: str = Field(default="http://127.0.0.1:11434", description="Where Ollama answers")
    prompt_ollama_model: str = Field(default="gemma3", description="The model of Ollama that writes prompts")
    prompt_ollama_keep_alive: str = Field(
        default="0", description="How long Ollama keeps the model after an answer, as it takes it: 0 or 5m"
    )
    job_retention_days: float = Field(default=30.0, gt=0, description="How long ended jobs and their events are kept")
    job_queue_bound: int = Field(
        default=OPEN_JOBS, ge=1, description="Jobs of one service that have not ended; one more is refused"
    )
    request_id_hours: float = Field(
        default=24.0, gt=0, description="How long a request_id is known, at the least: a repeat gets the first answer"
    )
    executor_id: str = Field(default="local", description="Unique per process of one service, stable over restarts")

    @property
    def database(self) -> str:
        """The SQLAlchemy URL in force."""
        return self.database_url or f"sqlite:///{(self.home / 'milimo.sqlite').resolve()}"

    def engine_url(self, service: str) -> str:
        """The SQLAlchemy URL of the durable engine of a service: a file of its own, or a schema of the database."""
        if self.database_url and not self.database_url.startswith("sqlite"):
            return self.database_url
        return f"sqlite:///{(self.home / 'engine' / f'{service}-{self.executor_id}.sqlite').resolve()}"

    @property
    def media(self) -> str:
        """The media store's URL in force."""
        return self.media_url or (self.home / "media").resolve().as_uri()

    @property
    def models(self) -> Path:
        """The folder of the models in force."""
        return self.models_dir or self.home / "models"

    @property
    def scratch(self) -> Path:
        """Folder for files in the making, on the same disk as the media."""
        return self.home / "scratch"
