"""What points share: class, metric and tags. `points.py` tells it once or twice a sector, and a number each time."""

from .ports import const, forget, ticks_diff

_SERIES_MAX = const(64)


class Series:
    """Class, metric and tags with their JSON ready, so that defining them again allocates nothing."""

    def __init__(self, number, cls, metric_json, tags, tags_json, last):
        self.number = number
        self.cls = cls
        self.metric_json = metric_json
        self.tags = tags
        self.tags_json = tags_json
        self.size = 7 + len(metric_json) + len(tags_json)
        self.defined = 0  # in this sector: the record that did, -1: twice
        self.last = last  # ticks of its latest point
        self.key = 0  # the keyframe since which the values below are known
        self.lo = self.hi = 0  # halves of the last float32
        self.int_key = 0
        self.int = 0
        self.next = None  # the same metric under other tags


class Known:
    """The series that are remembered, by metric and by number; at most 64."""

    def __init__(self):
        self.series = []
        self._metrics = ({}, {}, {})
        self._evicted = -1  # the latest ticks of those no longer remembered

    def find(self, cls, metric, tags):
        series = self._metrics[cls].get(metric) if isinstance(metric, str) else None
        while series is not None and series.tags != tags:
            series = series.next
        return series

    def make(self, cls, metric, tags, within):
        """A new series; None when it has to wait for the next page: there is no number for it `within` this one.

        Raises `TypeError` or `ValueError` for names and tags that the protocol cannot carry.
        """
        from .names import series_json

        if tags == {}:
            return self.find(cls, metric, None) or self.make(cls, metric, None, within)
        metric_json, tags_json = series_json(metric, tags)
        if self._evicted < 0:  # else there is no end of new ones
            forget("names")
        if len(self.series) == _SERIES_MAX:
            if within:  # its numbers keep their meaning
                return None
            self._evict()
        tags = None if tags is None else dict(tags)
        series = Series(len(self.series), cls, metric_json, tags, tags_json, self._evicted)
        known = self._metrics[cls]
        series.next = known.get(metric)
        self.series.append(series)
        known[metric] = series
        return series

    def _evict(self):
        """Forget all: if there are more than can be remembered, they are told anew each time round."""
        for series in self.series:
            last = series.last
            if last >= 0 and (self._evicted < 0 or ticks_diff(last, self._evicted) > 0):
                self._evicted = last
        for known in self._metrics:
            known.clear()
        self.series.clear()  # last: while it is full an interrupt leaves no number to be given twice
