"""Tables as written by people and spreadsheets."""

import pytest

from cprlib.data.text_table import read_text_table

NEEDED = ("path", "class_name")


def read(tmp_path, content: str | bytes, **options):
    path = tmp_path / "t.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_text_table(path, NEEDED, **options)


@pytest.mark.parametrize(
    "content",
    [
        "path,class_name\na,Run\nb,Walk\n",
        "Path, CLASS_NAME \r\na,Run\r\n\r\n b , Walk \r\n",
        "path;class_name\na;Run\nb;Walk",
        "path\tclass_name\na\tRun\nb\tWalk\n",
        'path,class_name,\n"a",Run,\n,,\nb,"Walk",,\n',
        "\ufeffpath,class_name\na,Run\nb,Walk\n",
        "sep=;\r\npath;class_name\r\na;Run\r\nb;Walk\r\n",
        "\ufeffsep=,\n\npath,class_name\na,Run\nb,Walk\n\n\n",
        "path,class_name\ra,Run\rb,Walk\r",
        "\n\npath,class_name\na,Run\nb,Walk\n",
        "\ufeffpath,class_name\na,Run\nb,Walk\n".encode("utf-16-le"),
        "\ufeffpath,class_name\na,Run\nb,Walk\n".encode("utf-16-be"),
    ],
)
def test_unambiguous_tables_are_read(tmp_path, content):
    table, _ = read(tmp_path, content)
    assert table.to_dict("list") == {"path": ["a", "b"], "class_name": ["Run", "Walk"]}


def test_a_row_number_column_is_an_extra_column(tmp_path):
    table, _ = read(tmp_path, ',path,class_name\n0,a,Run\n1,"b, c",Walk\n')
    assert table.to_dict("list") == {"index": ["0", "1"], "path": ["a", "b, c"], "class_name": ["Run", "Walk"]}


def test_values_are_text_and_line_numbers_those_of_the_file(tmp_path):
    table, lines = read(tmp_path, 'path,class_name,n\na,NA,007\n\n\nb,"two\nlines",True\n\nc,1e3\n')
    assert table.to_numpy().tolist() == [["a", "NA", "007"], ["b", "two\nlines", "True"], ["c", "1e3", ""]]
    assert lines == [2, 5, 8]
    assert read(tmp_path, "path,class_name\n a ,Run \n", strip=False)[0].to_numpy().tolist() == [[" a ", "Run "]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "t.csv is empty; its first line names the columns path and class_name"),
        (" \n\n", "is empty"),
        ("path,kind\na,b\n", "no column 'class_name'; it has path, kind, it needs path and class_name"),
        ("path,class_name\n\na,Run\nb,Run, fast\n", "line 4: 3 fields .*'Run', 'fast'.* names 2; .*double quotes"),
        ('"path,class_name"\n"a,Run"\n', "line 1: the whole line is between double quotes"),
        ("path,class_name,Path\na,b,c\n", "line 1: column 'path' appears twice"),
        ("path,,class_name\na,b,c\n", "line 1: column 2 has no name"),
        ('path,class_name\n\na,"Run\nb,Walk\n', "line 3: .*double quote"),
        ("path,class_name\na,Öl\n".encode("latin-1"), "line 2: byte d6 is not UTF-8; save the table as CSV in UTF-8"),
        (b"path,class_name\na,b\nc,d\0\n", "line 3: a NUL byte"),
        (b"\xff\xfep\0a", "line 1: "),
        ("path,class_name\n".encode("utf-16-le"), "line 1: a NUL byte"),
    ],
)
def test_malformed_tables_are_refused_with_the_line(tmp_path, content, message):
    with pytest.raises(ValueError, match=f"t.csv.*{message}|{message}") as caught:
        read(tmp_path, content)
    assert "t.csv" in str(caught.value) and "\n" not in str(caught.value)
