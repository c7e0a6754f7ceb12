"""ragents agents: which there are, and how their graphs look."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragents.cli.output import JsonOption, console, print_json

if TYPE_CHECKING:
    from ragents.agents.langgraph_base import LangGraphAgent

cli = typer.Typer(help="The agents, and pictures of their graphs.", no_args_is_help=True)


@cli.command("list")
def list_agents(as_json: JsonOption = False) -> None:
    """The agents that questions can be asked of."""
    from ragents.agents.table import AGENTS

    found = {name: agent.description for name, agent in AGENTS.items()}
    if as_json:
        print_json(found)
        return
    for name, description in found.items():
        console.print(f"[bold]{name:10}[/] {description}")


@cli.command("draw")
def draw(
    name: Annotated[str, typer.Argument(help="an agent, or 'all'")],
    into: Annotated[
        Path | None,
        typer.Option(help="a Markdown file with <!-- graph NAME --> marks, whose pictures are replaced; else printed"),
    ] = None,
) -> None:
    """Draw an agent's graph as Mermaid."""
    from ragents.agents.table import AGENTS

    names = list(AGENTS) if name == "all" else [name]
    if unknown := [each for each in names if each not in AGENTS]:
        raise typer.BadParameter(f"{unknown[0]!r} is no agent; choose one of {', '.join(AGENTS)}, all")
    if into is not None and not into.is_file():
        raise typer.BadParameter(f"--into {str(into)!r} is not a file")
    pictures = {each: mermaid(AGENTS[each]) for each in names}
    if into is None:
        for picture in pictures.values():
            print(picture)  # noqa: T201  # plain, for a file or a pipe
        return
    text = into.read_text(encoding="utf-8")
    for each, picture in pictures.items():
        text = replaced(text, each, picture)
    into.write_text(text, encoding="utf-8")
    console.print(f"drew {', '.join(pictures)} into {into}")


def mermaid(agent: "type[LangGraphAgent]") -> str:
    """The graph of an agent, without anything open: drawing needs neither model nor store."""
    from ragents.embeddings.hashing import HashingEmbedder
    from ragents.llm.extractive import extractive_client
    from ragents.rag.engine import RAGEngine
    from ragents.rag.store.memory import MemoryVectorStore

    embedder = HashingEmbedder()
    engine = RAGEngine(embedder=embedder, store=MemoryVectorStore())
    made = agent(llm_client=extractive_client(embedder.embed_documents), rag_engine=engine)
    return made.graph.get_graph().draw_mermaid(with_styles=False).strip()


def replaced(text: str, name: str, picture: str) -> str:
    """typer.BadParameter for a file without the agent's marks."""
    marks = re.compile(rf"(<!-- graph {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
    if not marks.search(text):
        raise typer.BadParameter(f"the file has no marks <!-- graph {name} --> and <!-- end -->; add them")
    return marks.sub(lambda found: f"{found[1]}```mermaid\n{picture}\n```\n{found[2]}", text)
