"""Training on whole translations: the model draws some, and better ones become likelier."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from seq2seq.decoding import Hypothesis, Sampling
from seq2seq.decoding.drawing import draw_sequences
from seq2seq.decoding.sampling import row_key
from seq2seq.layers.evaluating import evaluating
from seq2seq.tasks.translation.batches import IGNORE
from seq2seq.tasks.translation.config import DecodingConfig, TranslationTrainingConfig
from seq2seq.tasks.translation.model import TranslationModel
from seq2seq.tasks.translation.objectives import CrossEntropy
from seq2seq.text.sentencepiece import BOS, EOS, PAD, Tokenizer
from seq2seq.training.sequence_rewards import (
    expected_risk,
    mean_of_others,
    policy_gradient,
    sequence_losses,
)

# (translations as ids, rows of the corpus) -> rewards (N,) from 0 to 1
Reward = Callable[[Sequence[list[int]], Sequence[int]], Tensor]


class SequenceReward(nn.Module):
    """For each of B sources K translations are drawn from the model at a temperature t, and
    scored against the reference. What is minimised, divided by the number of target tokens, is

        w * CE + (1 - w) * mean_b R_b

    CE is the cross entropy of the references a token, with dropout and label smoothing. R_b is for

        self_critical   sum_k -(r_bk - mean of the other r) / K * log p_t(y_bk)   (Luo 2020)
        minimum_risk    sum_k Q(y_bk) (1 - r_bk)                       (Shen et al. 2016)

    Both are mixed with cross entropy as Edunov et al. (2018, section 4.3) do. Dropout is off while
    translations are drawn and scored: they come from the model whose gradient is taken. The random
    numbers follow from torch's generator, whose state is saved with checkpoints.
    """

    def __init__(
        self,
        model: TranslationModel,
        reward: Reward,
        options: TranslationTrainingConfig,
        decoding: DecodingConfig,
    ) -> None:
        super().__init__()
        self.model, self.reward = model, reward
        self.cross_entropy = CrossEntropy(model, options.label_smoothing)
        self.objective, self.weight = options.objective, options.cross_entropy_weight
        self.samples, self.temperature = options.samples, options.temperature
        self.sharpness = options.sharpness
        self.length_ratio, self.extra = decoding.max_length_ratio, decoding.max_length_extra

    def forward(
        self,
        source: Tensor,
        source_lengths: Tensor,
        target_input: Tensor,
        target_output: Tensor,
        rows: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Fields of a Batch -> what is minimised, and minus the mean reward; both times the
        number of target tokens. So with ``training.accumulation`` the mean of each batch counts by
        its tokens, which is near to one mean over all sources, and not the same."""
        tokens = (target_output != IGNORE).sum()
        with evaluating(self.model):
            drawn = self._draw(source, source_lengths)  # B lists of K
            flat = [one for of_source in drawn for one in of_source]
            numbers = rows.repeat_interleave(self.samples).tolist()
            rewards = self.reward([one.tokens for one in flat], numbers)
            rewards = rewards.view(len(drawn), self.samples).to(source.device)  # (B, K)
            inputs, outputs = _padded(flat, source.device)  # (B*K, T)
            index = torch.arange(len(drawn), device=source.device)
            index = index.repeat_interleave(self.samples)  # (B*K,)
            vectors = self.model(source, source_lengths, inputs, index)
            losses = sequence_losses(vectors, self.model.projection, outputs, self.temperature)
        loss = (1 - self.weight) * self._risk(losses.view_as(rewards), rewards, drawn) * tokens
        if self.weight:
            cross = self.cross_entropy(source, source_lengths, target_input, target_output)
            loss = loss + self.weight * cross
        return loss, -rewards.mean().to(loss) * tokens

    def _risk(self, losses: Tensor, rewards: Tensor, drawn: list[list[Hypothesis]]) -> Tensor:
        """The mean of R_b; losses and rewards (B, K)."""
        if self.objective == "minimum_risk":
            repeated = torch.tensor([_repeated(of_source) for of_source in drawn])
            rewards = rewards.masked_fill(repeated.to(rewards.device), torch.nan)
            return expected_risk(losses, rewards, self.sharpness).mean()
        advantages = rewards - mean_of_others(rewards)
        return policy_gradient(losses, advantages) / losses.numel()

    def _draw(self, source: Tensor, lengths: Tensor) -> list[list[Hypothesis]]:
        seed = int(torch.randint(2**62, ()))
        limits = (lengths * self.length_ratio + self.extra).long()
        keys = [
            [row_key(seed, sample, (row,)) for sample in range(self.samples)]
            for row in range(len(source))
        ]
        with torch.no_grad():
            return draw_sequences(
                self.model,
                self.model.start((source, lengths)),
                keys=keys,
                max_lengths=limits,
                bos=BOS,
                eos=EOS,
                pad=PAD,
                options=Sampling(temperature=self.temperature),
            )


def _repeated(drawn: list[Hypothesis]) -> list[bool]:
    """Which of the samples of a source stood before among them."""
    seen: set[tuple[int, ...]] = set()
    found = []
    for one in drawn:
        tokens = tuple(one.tokens)
        found.append(tokens in seen)
        seen.add(tokens)
    return found


def _padded(drawn: Sequence[Hypothesis], device: torch.device) -> tuple[Tensor, Tensor]:
    """Inputs (N, T) and outputs (N, T) of drawn sequences; one that did not come to its end has
    no end to predict."""
    steps = max(len(one.tokens) for one in drawn) + 1
    inputs = torch.full((len(drawn), steps), PAD)
    outputs = torch.full((len(drawn), steps), IGNORE)
    for row, one in enumerate(drawn):
        ids = torch.tensor(one.tokens, dtype=torch.long)
        inputs[row, 0] = BOS
        inputs[row, 1 : len(ids) + 1] = ids
        outputs[row, : len(ids)] = ids
        if one.finished:
            outputs[row, len(ids)] = EOS
    return inputs.to(device), outputs.to(device)


class TextReward:
    """Sentence BLEU (smoothed, effective order) or chrF of sacreBLEU against the reference, 0 to
    1, of detokenised texts.

    ``references`` gives the reference text of a row of the corpus; ``counted``: what BLEU counts
    (``scores.bleu_tokenizer``).
    """

    def __init__(
        self, metric: str, tokenizer: Tokenizer, references: Sequence[str], counted: str = "13a"
    ) -> None:
        from sacrebleu.metrics import BLEU, CHRF

        bleu = BLEU(tokenize=counted, effective_order=True)
        self._metric = bleu if metric == "bleu" else CHRF()
        self._tokenizer, self._references = tokenizer, references

    def __call__(self, translations: Sequence[list[int]], rows: Sequence[int]) -> Tensor:
        texts = self._tokenizer.decode_batch(list(translations))
        known: dict[tuple[str, int], float] = {}
        values = []
        for text, row in zip(texts, rows, strict=True):
            if (text, row) not in known:
                reference = [self._references[row]]
                known[text, row] = self._metric.sentence_score(text, reference).score / 100
            values.append(known[text, row])
        return torch.tensor(values, dtype=torch.float64)
