"""What `transformers` gives for exported folders, without convnova: `python hub_numbers.py FOLDERS OUT LETTERS...`.

OUT is an npz: `<folder>/<form>/<output>`; in the form of a batch padding is said by its token, by the mask, or is at
the left.
"""

import sys
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer

sys.modules["convnova"] = None  # whoever imports it fails
torch.set_num_threads(1)


def outputs(folder: Path, letters: list[str]) -> dict[str, np.ndarray]:
    """The outputs of the folder's own class and of `AutoModel`."""
    config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
    known = {"trust_remote_code": True}
    tokenizer = AutoTokenizer.from_pretrained(folder, **known)
    own = getattr(transformers, [name for name in config.auto_map if config.architectures[0][8:] in name][0])
    model, base = own.from_pretrained(folder, **known).eval(), AutoModel.from_pretrained(folder, **known).eval()
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    right = tokenizer(letters, padding=True, return_tensors="pt")
    assert sorted(right) == ["attention_mask", "input_ids"] and tokenizer.pad_token_id == config.pad_token_id
    tokenizer.padding_side = "left"
    forms = {
        "token": {"input_ids": right["input_ids"]},
        "mask": {**right, "input_ids": right["input_ids"].masked_fill(right["attention_mask"] == 0, 0)},
        "left": tokenizer(letters, padding=True, return_tensors="pt"),
    }
    results = {
        "dilations": np.array(config.dilations),
        "length": np.array(float(tokenizer.model_max_length)),
        "mask": np.array(tokenizer.mask_token_id or -1),
    }
    with torch.no_grad():
        for form, batch in forms.items():
            results |= {f"{form}/{name}": tensor.numpy() for name, tensor in base(**batch).items()}
            results[f"{form}/{model.config.architectures[0]}"] = model(**batch)[0].numpy()
    if "AutoModelForMaskedLM" in config.auto_map:
        fresh_head(folder, right)
    return results


def fresh_head(folder: Path, batch: dict) -> None:
    """A pretrained folder takes a new head, which is trained, saved and loaded again."""
    torch.manual_seed(0)
    load = AutoModelForSequenceClassification.from_pretrained
    model = load(folder, trust_remote_code=True, num_labels=5)  # as many as letters
    weight = model.classifier.weight.detach().clone()
    assert 0 < weight.abs().max() <= model.config.width**-0.5, "as PyTorch draws a linear layer"
    optimizer, losses = torch.optim.Adam(model.parameters(), 0.01), []
    for _ in range(20):
        loss = model(**batch, labels=torch.arange(len(batch["input_ids"]))).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2, losses
    model.eval().save_pretrained(folder / "tuned")
    with torch.no_grad():
        again = load(folder / "tuned", trust_remote_code=True).eval()(**batch).logits
        assert torch.equal(again, model(**batch).logits)


if __name__ == "__main__":
    folders, out, *letters = sys.argv[1:]
    found = {folder.name: outputs(folder, letters) for folder in sorted(Path(folders).iterdir())}
    arrays = {f"{folder}/{name}": array for folder, part in found.items() for name, array in part.items()}
    try:
        AutoTokenizer.from_pretrained(next(Path(folders).iterdir()), trust_remote_code=True)("ACLGT")
        raise SystemExit("a protein was read")
    except Exception as error:
        assert "WordLevel" in str(error), error
    np.savez(out, version=transformers.__version__, **arrays)
