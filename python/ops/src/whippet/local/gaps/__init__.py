"""What moto lacks or does otherwise than AWS, so that Terraform would hang, drift or fail: each function is one gap.

An operation that moto lacks is answered here; of one that moto answers wrongly, the answer or the record is mended.
What is more than a record, such as endpoints, functions and scaling, has a folder of its own.
"""

from __future__ import annotations

from whippet.local.gaps import (
    autoscaling,
    budgets,
    code_signing,
    ec2,
    iam,
    kms,
    logs,
    model_registry,
    notebooks,
    s3,
    sagemaker,
    sqs,
    ssm,
)
from whippet.local.services import Handlers

HANDLERS: Handlers = {
    **autoscaling.HANDLERS,
    **budgets.HANDLERS,
    **code_signing.HANDLERS,
    **ec2.HANDLERS,
    **iam.HANDLERS,
    **kms.HANDLERS,
    **logs.HANDLERS,
    **model_registry.HANDLERS,
    **notebooks.HANDLERS,
    **s3.HANDLERS,
    **sagemaker.HANDLERS,
    **sqs.HANDLERS,
    **ssm.HANDLERS,
}
