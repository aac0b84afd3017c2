"""The names of all commands with what they do: what `mmembed --help` prints. It imports nothing."""

LIGHTNING = {
    "fit": "train a retriever (LightningCLI: -c A.yaml -c B.yaml --key=value)",
    "pretrain": "train a LLaVA-Next to answer, by next tokens (LightningCLI)",
    "fit-reranker": "train a LLaVA-Next to answer True or False about mined documents (LightningCLI)",
    "validate": "score it on the validation split (LightningCLI)",
    "test": "score it on the test split (LightningCLI)",
    "predict": "embed a collection into a store (LightningCLI)",
}
STAGES = {
    "shard": "turn a source into a data directory, or verify one",
    "texts": "pair texts of a data directory, to train a text retriever on",
    "tokenizer": "train a BPE tokenizer on a data directory's texts",
    "initial": "write a checkpoint folder with random weights",
    "convert": "turn a released checkpoint into a model folder",
    "merge": "merge a trained model's adapters, into a model folder or a checkpoint",
    "encode": "embed queries or documents into a store",
    "search": "find the best documents of each query: a ranking from two stores",
    "mine": "take hard negatives from a ranking",
    "rerank": "put the best documents of a ranking in a multimodal LLM's order",
    "evaluate": "score a ranking against qrels, or a model on a data directory",
    "compare": "compare systems by task, over seeds: intervals, tests, queries won and lost",
    "report": "write the page of a run folder",
    "run": "run the stages of a recipe, going on where it stopped",
    "sweep": "try the settings of a W&B sweep file, without a server",
    "plan": "memory and time of a fit, GPU-hours and disk of recipes, before they are started",
    "doctor": "look at this machine and say what would not work",
}
