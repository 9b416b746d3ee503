"""A procedure to ask questions about, written for this project and free to use."""

from __future__ import annotations

from pathlib import Path

_PROCEDURE = """\
# 清洁验证管理规程

文件编号：SOP-QA-017　版本：03　生效日期：2026 年 3 月 1 日

## 1 目的
本规程规定固体制剂车间与药品直接接触的设备的清洁验证方法，防止交叉污染。

## 2 范围
适用于混合机、压片机、包衣机和胶囊填充机。仓储和检验用设备不在本规程范围内。

## 3 职责
生产部负责按清洁规程执行清洁并填写记录。质量控制部负责取样和检验。
质量保证部负责批准清洁验证方案和清洁验证报告。

## 4 残留限度
活性成分残留不得超过 10 ppm，并且下一产品一个日剂量中的残留不得超过前一产品最小日剂量的千分之一。
清洁剂残留不得超过 5 ppm。目视检查时设备表面不得有可见残留。
微生物限度为每 25 平方厘米不超过 50 CFU。

## 5 取样
擦拭取样面积为 25 平方厘米，取样部位为最难清洁的部位。
淋洗取样用纯化水，淋洗水量为 500 毫升。
擦拭取样的回收率不得低于 70%。

## 6 时限
设备使用后应在 8 小时内完成清洁。
清洁后的设备最长可保留 72 小时，超过 72 小时须在使用前重新清洁。

## 7 验证次数与再验证
每台设备的清洁验证须连续进行三批，三批结果均应符合限度。
清洁剂、清洁方法或产品发生变更时须进行再验证；无变更时每三年再验证一次。

## 8 偏差
任何一项结果超过限度时，应立即停用该设备，按偏差管理规程（SOP-QA-009）调查原因。
调查应在 30 日内完成。
"""


def write_samples(folder: Path) -> list[Path]:
    """Write the procedure into ``folder``; its path."""
    path = folder / "cleaning-validation.md"
    path.write_text(_PROCEDURE, encoding="utf-8")
    return [path]
