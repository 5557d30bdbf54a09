"""What must not change the logits of a model in transformers: left padding, processing in parts with a KV cache, and packing
documents by their position ids."""

import torch

# Other shapes add in another order: fp32 noise in logits of about 5.
CLOSE = {"rtol": 0, "atol": 1e-4}


def pad_left(tokens, filler, padding):
    """tokens (B, T) after that many fillers, and the mask that hides the fillers."""
    rows, length = tokens.shape
    padded = torch.cat([torch.full((rows, padding), filler), tokens], 1)
    return padded, (torch.arange(length + padding) >= padding).long().expand(rows, -1)


def logits_in_parts(model, tokens, cuts, mask=None):
    """The logits of parts that end at the cuts and at the end, each with a KV cache of the parts before it."""
    cache, logits = None, []
    for start, stop in zip((0, *cuts), (*cuts, tokens.shape[1])):
        out = model(tokens[:, start:stop], attention_mask=None if mask is None else mask[:, :stop], past_key_values=cache,
                    use_cache=True)
        cache = out.past_key_values
        logits.append(out.logits)
    return torch.cat(logits, 1)


@torch.no_grad()
def check_padding_and_caches(model, tokens, filler=0, padding=4, cuts=(3, 4), new_tokens=4):
    """Returns the logits of the tokens without padding or cache."""
    full = model(tokens, use_cache=False).logits
    assert full.abs().max() > 1
    padded, mask = pad_left(tokens, filler, padding)
    torch.testing.assert_close(model(padded, attention_mask=mask).logits[:, padding:], full, **CLOSE)
    torch.testing.assert_close(logits_in_parts(model, tokens, cuts), full, **CLOSE)
    behind_padding = [cut + padding for cut in cuts]
    torch.testing.assert_close(logits_in_parts(model, padded, behind_padding, mask)[:, padding:], full, **CLOSE)

    continued = tokens
    for _ in range(new_tokens):
        following = model(continued, use_cache=False).logits[:, -1:].argmax(-1)
        continued = torch.cat([continued, following], 1)
    greedy = {"max_new_tokens": new_tokens, "do_sample": False, "eos_token_id": -1, "pad_token_id": 0}
    for inputs, visible in ((tokens, torch.ones_like(tokens)), (padded, mask)):
        assert torch.equal(model.generate(inputs, attention_mask=visible, **greedy)[:, -continued.shape[1] :], continued)
    return full


@torch.no_grad()
def check_packing(model, row, cut):
    """Checks two documents in one row (1, T), told apart by their position ids alone."""
    positions = torch.cat([torch.arange(cut), torch.arange(row.shape[1] - cut)])[None]
    packed = model(row, position_ids=positions, use_cache=False).logits
    alone = torch.cat([model(row[:, :cut]).logits, model(row[:, cut:]).logits], 1)
    torch.testing.assert_close(packed, alone, **CLOSE)
