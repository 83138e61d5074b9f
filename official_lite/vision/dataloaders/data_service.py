"""Preprocessing on other machines: tf.data service.

Every worker of the service runs the pipeline on a share of the positions that the dispatcher hands
out as they are asked for: each example comes once in an epoch, but in which order they arrive depends on who
is faster. So a run that resumes starts at its place in the data, and from there on may
see some examples again that were on their way, and others later. Evaluation, where each example must
count once, never goes through the service.
"""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from official_lite import errors
from official_lite.vision.dataloaders import notices

__all__ = ['DataService', 'build_data_service']


@dataclasses.dataclass(frozen=True)
class DataService:
    """Which service, and who shares what it makes.

    Attributes:
        address: Of the dispatcher, 'protocol://host:port'.
        job_name: Readers that give the same name share one stream, of which each gets different
            batches. None: each reader has a stream of its own, of its share of the examples.
        trainer_id: Name of a trainer that runs beside others on one and the same stream: each sees
            every batch, which is made once. None: no such sharing. Needs a job name.
        is_before_batching: Whether the service hands over single examples.
    """

    address: str
    job_name: str | None = None
    trainer_id: str | None = None
    is_before_batching: bool = False

    def apply(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        """The dataset as the service makes it."""
        cache = None
        if self.trainer_id is not None:
            cache = tf.data.experimental.service.CrossTrainerCache(trainer_id=self.trainer_id)
        return dataset.apply(
            tf.data.experimental.service.distribute(
                processing_mode=tf.data.experimental.service.ShardingPolicy.DYNAMIC,
                service=self.address,
                job_name=self.job_name,
                cross_trainer_cache=cache,
            )
        )


def build_data_service(
    *,
    is_enabled: bool,
    address: str | None,
    job_name: str | None = None,
    is_shared_by_trainers: bool = False,
    trainer_id: str | None = None,
    is_before_batching: bool = False,
    where: str = 'data',
) -> DataService | None:
    """The service of a data config; None where it is not enabled or has no address.

    Raises:
        UsageError: Sharing lacks names.
    """
    if not is_enabled:
        return None
    if not address:
        notices.write(
            f'{where}.enable_tf_data_service: there is no tf_data_service_address; this process '
            'makes the batches\n'
        )
        return None
    if is_shared_by_trainers:
        for name, value in (('tf_data_service_job_name', job_name), ('trainer_id', trainer_id)):
            if not value:
                raise errors.UsageError(
                    where=f'{where}.{name}',
                    expected='a name, because '
                    'enable_shared_tf_data_service_between_parallel_trainers is on',
                )
    return DataService(
        address,
        job_name,
        trainer_id if is_shared_by_trainers else None,
        is_before_batching=is_before_batching,
    )
