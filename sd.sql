begin;
-- what it has from its parent becomes its own then: compare again
alter table public.p1 detach partition public.p1a;
alter table public.p1 attach partition public.p1a FOR VALUES FROM (0) TO (10);
commit;
