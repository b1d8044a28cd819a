"""nanotron's configuration file as a strict schema: a YAML file in, a checked :class:`NanotronConfig` out.

The keys are those of branch ``smollm3`` (commit in NANOTRON_COMMIT, ``src/nanotron/config``), as far
as a pretraining run on token shards uses them. nanotron refuses any unknown key at launch, on the cluster;
this schema refuses it here, with the rules nanotron asserts later (heads, vocabulary, stages). A key that
this branch has and its ``main`` has not (``moe_layer_recompute``) is kept out of what we write.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from smoldata.errors import InputError

NANOTRON_COMMIT = "bc1f5a612e9546ba19512130b13ec94b5f8609d2"
DATATROVE_COMMIT = "2c895af7a95010a96fa53e2dc77cc0ce92799e3f"  # what that nanotron reads shards with
Positive = Annotated[int, Field(gt=0)]
LogLevel = Literal["debug", "info", "warning", "error", "critical", "passive"]


class _Strict(BaseModel):
    """Every unknown key and every wrong type is an error."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True)


class Checkpoints(_Strict):
    """Where checkpoints go, how often, and what a launch resumes from."""

    checkpoints_path: str
    checkpoint_interval: Positive
    checkpoints_path_is_shared_file_system: bool = False
    save_initial_state: bool = False
    save_final_state: bool = True
    resume_checkpoint_path: str | None = None
    load_lr_scheduler: bool = True
    load_optimizer: bool = True


class Dataset(_Strict):
    """Token folders and their weights, as ``NanosetDatasetsArgs`` reads them (TokenizedBytes loader)."""

    dataset_folder: list[str]
    dataset_weights: list[float]
    dataset_read_path: list[str] | None = None
    tokenizer_name: str
    vocab_size: Positive
    token_size_in_bytes: Literal[2, 4]
    return_positions: bool = True
    skip_in_stream: bool = False
    pad_samples_to_global_batch_size: bool = False
    dataset_max_tokens: list[int] | None = None
    shuffle_files: bool = False
    use_old_brrr_dataloader: bool = False

    @model_validator(mode="after")
    def _parallel_lists(self) -> Self:
        folders = len(self.dataset_folder)
        for name in ("dataset_weights", "dataset_read_path", "dataset_max_tokens"):
            values = getattr(self, name)
            if values is not None and len(values) != folders:
                raise ValueError(f"{name} has {len(values)} entries, dataset_folder has {folders}")
        if sum(self.dataset_weights) <= 0 or min(self.dataset_weights) < 0:
            raise ValueError("dataset_weights must be non-negative with a positive sum")
        return self


class Data(_Strict):
    """A data stage's dataset and seed."""

    dataset: Dataset
    seed: int | None
    num_loading_workers: int = 1


class DataStage(_Strict):
    """A stage: what is read from which step on."""

    name: str
    start_training_step: Positive
    data: Data
    sequence_length: int | None = None


class General(_Strict):
    """Names, seed and counters of the run."""

    project: str
    run: str | None = None
    seed: int | None = None
    step: int | None = None
    consumed_train_samples: int | None = None
    benchmark_csv_path: str | None = None
    ignore_sanity_checks: bool = True


class Logging(_Strict):
    """Console logging."""

    log_level: LogLevel = "info"
    log_level_replica: LogLevel = "info"
    iteration_step_info_interval: Positive = 1


class MetricsLogging(_Strict):
    """Detailed metrics: 0 basic, 1 full."""

    log_level: Literal[0, 1] = 0
    log_detail_interval: Positive = 10


class InitMethod(_Strict):
    """Random initialisation with this standard deviation."""

    std: float


class ModelConfig(_Strict):
    """``Qwen2Config`` of nanotron: the architecture that SmolLM3 is trained with."""

    bos_token_id: int = 1
    eos_token_id: int = 2
    hidden_act: str = "silu"
    hidden_size: Positive = 4096
    initializer_range: float = 0.02
    intermediate_size: Positive = 11008
    is_qwen2_config: Literal[True]
    max_position_embeddings: Positive = 2048
    num_attention_heads: Positive = 32
    num_hidden_layers: Positive = 32
    num_key_value_heads: Positive | None = None
    pad_token_id: int | None = None
    pretraining_tp: int = 1
    rms_norm_eps: float = 1e-6
    rope_scaling: dict[str, Any] | None = None
    rope_theta: float = 10000.0
    rope_interleaved: bool = False
    rope_seq_len_interpolation_factor: float | None = None
    tie_word_embeddings: bool = False
    use_cache: bool = True
    vocab_size: Positive = 32000
    flex_attention_mask: Literal["sliding_window", "document", "sliding_window_document"] | None = None
    attention_bias: bool = False
    sliding_window_size: int | None = None
    z_loss_enabled: bool = False
    z_loss_coefficient: float = 0.0001
    no_rope_layer: Positive | None = None
    log_attn_probs: bool = True
    ring_attn_heads_k_stride: Positive | None = None
    moe_config: dict[str, Any] | None = None
    attn_implementation: str = Field(default="flash_attention_2", alias="_attn_implementation")
    fused_rotary_emb: bool = Field(default=False, alias="_fused_rotary_emb")
    fused_rms_norm: bool = Field(default=False, alias="_fused_rms_norm")
    use_qkv_packed: Literal[True] = Field(alias="_use_qkv_packed")
    use_doc_masking: bool = Field(default=False, alias="_use_doc_masking")

    @model_validator(mode="after")
    def _shapes(self) -> Self:
        heads, kv_heads = self.num_attention_heads, self.num_key_value_heads or self.num_attention_heads
        if self.hidden_size % heads:
            raise ValueError(f"hidden_size {self.hidden_size} is no multiple of {heads} attention heads")
        if heads % kv_heads:
            raise ValueError(f"{heads} attention heads are no multiple of {kv_heads} key-value heads")
        if self.no_rope_layer and self.num_hidden_layers % self.no_rope_layer:
            raise ValueError(
                f"no_rope_layer {self.no_rope_layer} does not divide {self.num_hidden_layers} layers"
            )
        if (self.attn_implementation == "llama3_ring_attention") != (
            self.ring_attn_heads_k_stride is not None
        ):
            raise ValueError("ring_attn_heads_k_stride belongs to llama3_ring_attention and to nothing else")
        return self


class Model(_Strict):
    """Architecture, initialisation and number format."""

    ddp_bucket_cap_mb: Positive = 25
    dtype: Literal["bfloat16", "float16", "float32"]
    init_method: InitMethod
    make_vocab_size_divisible_by: Positive = 1
    architecture: ModelConfig = Field(alias="model_config")


class LearningRateScheduler(_Strict):
    """Warm-up, plateau, decay: all in global steps."""

    learning_rate: float
    lr_warmup_steps: int
    lr_warmup_style: Literal["linear", "constant"]
    lr_decay_style: Literal["linear", "cosine", "1-sqrt"]
    lr_decay_steps: Positive
    lr_decay_starting_step: Positive
    min_decay_lr: float


class AdamW(_Strict):
    """The optimizer."""

    name: Literal["adamW"]
    adam_beta1: float
    adam_beta2: float
    adam_eps: float
    torch_adam_is_fused: bool


class Optimizer(_Strict):
    """Optimizer, clipping, decay, schedule."""

    accumulate_grad_in_fp32: bool
    clip_grad: float | None
    learning_rate_scheduler: LearningRateScheduler
    optimizer_factory: AdamW
    weight_decay: float
    weight_decay_exclude_named_params: list[str] = Field(default_factory=list)
    zero_stage: Literal[0, 1]


class Parallelism(_Strict):
    """How GPUs are shared out: dp x tp x pp x context_parallel_size x expert_parallel_size."""

    dp: Positive
    pp: Positive
    tp: Positive
    pp_engine: Literal["1f1b", "afab"] = "1f1b"
    tp_mode: Literal["REDUCE_SCATTER", "ALL_REDUCE"] = "REDUCE_SCATTER"
    tp_linear_async_communication: bool = False
    tp_recompute_allgather: bool = True
    recompute_layer: bool = False
    moe_layer_recompute: bool | None = None
    expert_parallel_size: Positive = 1
    context_parallel_size: Positive = 1


class Tokenizer(_Strict):
    """What ``AutoTokenizer`` loads; it must have exactly the model's vocabulary size."""

    tokenizer_name_or_path: str
    tokenizer_max_length: int | None = None
    tokenizer_revision: str | None = None


class Tokens(_Strict):
    """Lengths, batch and steps."""

    batch_accumulation_per_replica: Positive
    micro_batch_size: Positive
    sequence_length: Positive
    train_steps: Positive
    val_check_interval: int = -1
    limit_test_batches: int = 0
    limit_val_batches: int = 0


class NanotronConfig(_Strict):
    """One launch of nanotron. Sections that nanotron calls optional but dereferences are required here."""

    checkpoints: Checkpoints
    data_stages: list[DataStage] = Field(min_length=1)
    general: General
    logging: Logging
    metrics_logging: MetricsLogging
    model: Model
    optimizer: Optimizer
    parallelism: Parallelism
    tokenizer: Tokenizer
    tokens: Tokens
    profiler: dict[str, Any] | None = None
    s3_upload: dict[str, Any] | None = None
    lighteval: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _stages(self) -> Self:
        starts = [stage.start_training_step for stage in self.data_stages]
        names = [stage.name for stage in self.data_stages]
        if starts[0] != 1 or sorted(set(starts)) != starts:
            raise ValueError(f"data_stages must start at 1 and rise, not {starts}")
        if len(set(names)) != len(names):
            raise ValueError(f"data_stages must have different names, not {names}")
        if starts[-1] > self.tokens.train_steps:
            raise ValueError(
                f"the last stage starts at {starts[-1]}, after train_steps {self.tokens.train_steps}"
            )
        return self

    @model_validator(mode="after")
    def _vocabulary(self) -> Self:
        for stage in self.data_stages:
            dataset = stage.data.dataset
            if dataset.vocab_size != self.model.architecture.vocab_size:
                raise ValueError(
                    f"stage {stage.name}: vocab_size {dataset.vocab_size} is not the model's "
                    f"{self.model.architecture.vocab_size}"
                )
            if dataset.tokenizer_name != self.tokenizer.tokenizer_name_or_path:
                raise ValueError(
                    f"stage {stage.name}: tokenizer_name {dataset.tokenizer_name} is not "
                    f"{self.tokenizer.tokenizer_name_or_path}"
                )
        return self

    @model_validator(mode="after")
    def _parallel(self) -> Self:
        tp, model = self.parallelism.tp, self.model.architecture
        if model.num_attention_heads % tp or (model.num_key_value_heads or tp) < tp:
            raise ValueError(
                f"tp {tp} does not fit {model.num_attention_heads} heads, "
                f"{model.num_key_value_heads} key-value heads"
            )
        if model.vocab_size % tp:
            raise ValueError(
                f"vocab_size {model.vocab_size} is no multiple of tp {tp}: nanotron would pad it"
            )
        if self.optimizer.accumulate_grad_in_fp32 and self.model.dtype == "float32":
            raise ValueError("accumulate_grad_in_fp32 is for half precision, not for dtype float32")
        return self

    @property
    def batch_windows(self) -> int:
        """Windows a step: micro batch x accumulation x data-parallel replicas."""
        tokens = self.tokens
        return tokens.micro_batch_size * tokens.batch_accumulation_per_replica * self.parallelism.dp

    @property
    def gpus(self) -> int:
        """GPUs of the launch."""
        one = self.parallelism
        return one.dp * one.tp * one.pp * one.context_parallel_size * one.expert_parallel_size


def parse_config(values: Any, label: str = "nanotron configuration") -> NanotronConfig:
    """Check parsed YAML; raise :class:`InputError` with every wrong key and its place."""
    if not isinstance(values, dict):
        raise InputError(
            f"{label} holds {type(values).__name__}, not a mapping: a nanotron configuration has sections "
            "such as `data_stages` and `tokens`"
        )
    try:
        return NanotronConfig.model_validate(values)
    except ValidationError as error:
        places = [f"{'.'.join(map(str, one['loc'])) or 'file'}: {one['msg']}" for one in error.errors()]
        raise InputError(f"{label}: {'; '.join(places)}; nanotron refuses the file for that too") from error


def load_config(path: Path) -> NanotronConfig:
    """Read and check a nanotron YAML file (safe loader)."""
    try:
        return parse_config(yaml.safe_load(Path(path).read_text("utf-8")), str(path))
    except FileNotFoundError as error:
        raise InputError(f"there is no {path}; give a nanotron configuration, a bundle or a plan") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(
            f"{path} cannot be read as YAML: {error}; is it a nanotron configuration?"
        ) from error
